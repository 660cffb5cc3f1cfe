"""An optimizer class of the user's own: what it is given, what is refused, who imports it, and that its cells resume."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import BUDGETS, CPU, TOKENS, forget, make_store, measured, own_package, small_settings

from scalesweep.cli import main
from scalesweep.errors import SpecError
from scalesweep.plan.axes import variants
from scalesweep.plan.cell import Cell, cell_from_dict, pack_signature
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings import trust as trusting
from scalesweep.settings.again import overrides_of
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.settings import Settings, parse_settings
from scalesweep.settings.train import OptimSpec
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, train
from scalesweep.train.optim.custom import tried_optimizer
from scalesweep.train.pack import Run

SOURCE = """
import torch


class AdamW(torch.optim.AdamW):
    def __init__(self, groups):
        super().__init__(groups, fused=True)


class Lion(torch.optim.Optimizer):
    seen = []

    def __init__(self, groups, power=1.0, harm=""):
        self.power, self.harm, self.count, self.last = power, harm, 0, {}
        super().__init__(groups, {})
        Lion.seen.append(self)

    @torch.no_grad()
    def step(self):
        self.count += 1
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["m"] = torch.zeros_like(p)
                    if self.harm == "object":
                        state["m2"] = state["hook"] = object
                    state["lr"] = group["lr"]
                lr = state["lr"] if self.harm == "deaf" else group["lr"]
                if self.harm == "counts":
                    lr /= self.count
                update = (0.9 * state["m"] + 0.1 * p.grad).sign()
                if self.harm == "divides":
                    update = p.grad / p.grad.norm()
                if self.harm == "draws":
                    update += 0.1 * torch.randn_like(p)
                if self.harm == "skips" and p.dim() == 1:
                    continue
                state["m"].lerp_(p.grad, 0.01)
                p.mul_(1 - lr * group["weight_decay"]).sub_(self.power * lr * update)


class NeedsClosure(torch.optim.Optimizer):
    def __init__(self, groups):
        super().__init__(groups, {})

    def step(self, closure):
        closure()


class NoOptimizer:
    def __init__(self, groups):
        pass
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with own_package(tmp_path, monkeypatch, "optimizers", SOURCE) as name:
        yield name


def own(settings: Settings, package: str, name: str = "Lion", **arguments: Any) -> Settings:
    values = settings.model_dump(mode="json")
    target = {"name": "custom", "target": f"{package}.optimizers:{name}", "arguments": arguments}
    return parse_settings({**values, "optim": {**values["optim"], **target}})


def facts_with(facts: CorpusFacts) -> CorpusFacts:
    return dataclasses.replace(facts, own_optimizer=tried_optimizer)


def tried(package: str, name: str, **arguments: Any) -> str:
    return tried_optimizer(own(small_settings(Path(".")), package, name, **arguments).optim)


def trained(cell: Cell) -> tuple[float, list[dict[str, Any]]]:
    (outcome,) = train([Run(cell)], TOKENS[:36_000], TOKENS[36_000:], Execution(CPU), Hooks())
    return outcome.loss, [{k: v for k, v in point.items() if k != "tokens_per_second"} for point in outcome.curve]


def test_adamw_of_one_s_own_is_adamw_bit_for_bit(package: str, home: Path, facts: CorpusFacts) -> None:
    """So every group has the rates, decay, eps, betas, clipping and schedule of the recipe."""
    trusting.trust((f"{package}.optimizers",))
    sections: dict[str, Any] = {
        "sweep": {"sizes": [{"width": 32, "depth": 2}], "budgets": [4096]},
        "optim": {"grad_clip": 0.5, "eps": 1e-6},
        "train": {"fast": False},
    }
    settings = small_settings(home, **sections)
    here = dataclasses.replace(facts_with(facts), vocab_size=64)
    (built_in,) = make_plan(settings, here, "cpu").cells
    (of_own,) = make_plan(own(settings, package, "AdamW"), here, "cpu").cells
    assert of_own.key != built_in.key
    assert trained(of_own) == trained(built_in)


def test_the_class_is_given_groups_by_name_without_the_run_axis(package: str, home: Path, facts: CorpusFacts) -> None:
    trusting.trust((f"{package}.optimizers",))
    settings = small_settings(home, sweep={"sizes": [{"width": 16, "depth": 1}], "budgets": [4096]})
    here = dataclasses.replace(facts_with(facts), vocab_size=64)
    (cell,) = make_plan(own(settings, package), here, "cpu").cells
    trained(cell)
    groups = {group["name"]: group for group in sys.modules[f"{package}.optimizers"].Lion.seen[-1].param_groups}
    assert {name: group["weight_decay"] for name, group in groups.items()} == {
        "matrices": cell.weight_decay,
        "gains": 0,
        "qk_gains": 0,
        "table": 0,
        "head": cell.head_weight_decay,
    }
    assert groups["head"]["names"] == ["head"]
    assert groups["table"]["names"] == ["embedding", "norm"]
    assert [tuple(p.shape) for p in groups["table"]["params"]] == [(64, 16), (16,)]
    assert groups["matrices"]["eps"] == cell.hidden_eps
    assert groups["matrices"]["betas"] == (cell.beta1, cell.beta2)
    assert groups["head"]["lr"] / groups["table"]["lr"] == pytest.approx(cell.head_lr / cell.embedding_lr)


def test_a_sweep_of_it_resumes_bit_for_bit_and_is_read_without_it(
    package: str, home: Path, tmp_path: Path, corpus: Corpus, facts: CorpusFacts, capsys: pytest.CaptureFixture[str]
) -> None:
    trusting.trust((f"{package}.optimizers",))
    sizes = [{"width": 16, "depth": 1}, {"width": 24, "depth": 1}]
    settings = own(small_settings(home, sweep={"sizes": sizes, "budgets": BUDGETS}), package)
    straight = make_store(tmp_path / "straight", settings, corpus, facts_with(facts))
    assert len({cell.trunk for cell in straight.plan_file.plan().cells}) == len(sizes)
    assert work(straight, CPU, lambda: False)
    stopped = make_store(tmp_path / "stopped", settings, corpus, facts_with(facts))
    for after in (15, 70, 40):  # in the warm-up, and with a trunk to go on from
        calls = iter(range(10**6))
        work(stopped, CPU, lambda calls=calls, after=after: next(calls) >= after)  # type: ignore[misc]
    assert work(stopped, CPU, lambda: False)
    assert set(straight.states().values()) == {"COMPLETE"}
    assert measured(stopped) == measured(straight)
    forget(package)
    trusting.TRUSTED.clear()
    for command in (["status"], ["export", f"out={tmp_path / 'points.csv'}"], ["fit", "fit.bootstrap=0"]):
        assert main([command[0], str(straight.directory), *command[1:]]) == 0
    capsys.readouterr()
    with pytest.raises(SpecError, match=f"add trust={package}.optimizers"):
        work(straight, CPU, lambda: False)
    assert not [module for module in sys.modules if module.startswith(package)]


def test_target_arguments_and_source_are_in_the_key(
    package: str, home: Path, tmp_path: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    trusting.trust((f"{package}.optimizers",))
    settings = small_settings(home, sweep={"budgets": [4096]})
    store = make_store(tmp_path / "sweep", own(settings, package), corpus, facts_with(facts))
    others = [own(settings, package, "AdamW"), own(settings, package, power=2.0)]
    keys = [set(store.plan_file.keys()), *({c.key for c in make_plan(s, facts_with(facts), "cpu").cells} for s in others)]
    (tmp_path / "lib" / package / "__init__.py").write_text("# a file that optimizers.py may import from\n")
    with pytest.raises(SpecError, match="source has changed"):
        work(store, CPU, lambda: False)
    keys.append({c.key for c in make_plan(own(settings, package), facts_with(facts), "cpu").cells})
    assert len(set.union(*keys)) == sum(map(len, keys))


def test_a_cell_is_read_from_its_file_as_it_was_written_and_goes_alone(
    package: str, home: Path, tmp_path: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    trusting.trust((f"{package}.optimizers",))
    settings = own(small_settings(home, sweep={"seeds": [0, 1], "budgets": [4096]}), package, power=2.0)
    store = make_store(tmp_path / "sweep", settings, corpus, facts_with(facts))
    cells = [
        cell_from_dict({k: v for k, v in content.items() if k != "key"})
        for content in Store(store.directory).plan_file.content()["cells"]
    ]
    assert [cell.key for cell in cells] == list(store.plan_file.keys())
    assert len({pack_signature(cell) for cell in cells}) == len(cells)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("Lion", {"harm": "object"}, "state_dict"),
        ("Lion", {"harm": "deaf"}, "half the lr"),
        ("Lion", {"harm": "counts"}, "load_state_dict"),
        ("Lion", {"harm": "draws"}, "load_state_dict"),
        ("Lion", {"harm": "divides"}, "not finite"),
        ("Lion", {"harm": "skips"}, "leave norm as it was"),
        ("Lion", {"nothing": 1}, "nothing"),
        ("NeedsClosure", {}, "closure"),
        ("NoOptimizer", {}, r"torch\.optim\.Optimizer"),
        ("Nobody", {}, "has no class Nobody"),
    ],
    ids=str,
)
def test_what_breaks_the_contract_is_refused_in_one_sentence(
    package: str, name: str, arguments: dict[str, Any], says: str
) -> None:
    trusting.trust((f"{package}.optimizers",))
    with pytest.raises(SpecError, match=says) as caught:
        tried(package, name, **arguments)
    assert str(caught.value).startswith(f"optim.target = '{package}.optimizers:{name}'")
    assert "\n" not in str(caught.value)


def test_trying_it_leaves_the_generator_as_it_was(package: str) -> None:
    trusting.trust((f"{package}.optimizers",))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tried(package, "Lion")
    assert torch.equal(torch.rand(3), expected)


def test_nothing_is_imported_without_trust(package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "sweep=smoke", "optim=custom", f"optim.target={package}.optimizers:Lion", f"data.cache={tmp_path}"]
    assert main([*words, "trust=another.module"]) == 2
    said = capsys.readouterr().err
    assert f"trust={package}.optimizers" in said
    assert said.count("\n") == 1
    assert not [module for module in sys.modules if module.startswith(package)]


def test_settings_of_it_are_asked_for_and_written_again() -> None:
    with pytest.raises(SpecError, match=r"optim.*target"):
        compose_settings(["optim=custom"])
    with pytest.raises(SpecError, match=r"optim\.target"):
        compose_settings(["optim=custom", "optim.target=os.system"])
    words = ["optim=custom", "optim.target=a.b:C", "optim.arguments.ratio=3", "optim.beta2=0.99"]
    settings = compose_settings(words)
    assert (settings.optim.arguments, settings.optim.beta2) == ({"ratio": 3}, 0.99)
    again = overrides_of(settings)
    assert again is not None
    assert compose_settings(again) == settings


def test_it_is_a_value_of_an_axis() -> None:
    words = ["sweep=smoke", "sweep.axes.optim=[{optim: custom, target: 'a.b:C', arguments: {power: 2}}, adamw]"]
    settings = compose_settings(words)
    own_one, adamw = (variant.settings.optim for variant in variants(settings))
    assert (own_one.target, own_one.arguments) == ("a.b:C", {"power": 2})
    assert adamw == compose_settings(["sweep=smoke"]).optim
    again = overrides_of(settings)
    assert again is not None
    assert compose_settings(again) == settings


def test_its_settings_belong_to_it_alone() -> None:
    values = compose_settings(["sweep=smoke"]).optim.model_dump()
    for wrong in ({"target": "a.b:C"}, {"arguments": {"power": 2}}):
        with pytest.raises(ValueError, match="optim=custom alone"):
            OptimSpec.model_validate({**values, **wrong})
