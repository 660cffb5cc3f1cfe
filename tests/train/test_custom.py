"""A model class of the user's own: what it is counted as, what is refused, and who imports it."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import forget, make_store, measured, own_package, small_settings

from scalesweep.cli import main
from scalesweep.errors import SpecError
from scalesweep.plan.cell import cell_from_dict
from scalesweep.plan.flops import ModuleShape, count_params
from scalesweep.plan.grid import CorpusFacts
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings import trust as trusting
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.plan import CustomSpec
from scalesweep.settings.settings import Settings
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device
from scalesweep.train.model.custom import scaled_custom

SOURCE = """
import time
import torch
from torch import nn


class Mean(nn.Module):
    def __init__(self, width, depth, head_dim, vocab_size, context, harm=""):
        super().__init__()
        self.harm = harm
        self.embedding = nn.Embedding(vocab_size, width)
        self.mix = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size, bias=False)
        if harm == "unused":
            self.more = nn.Parameter(torch.zeros(3))
        if harm == "unseeded":
            self.norm.weight.data += torch.rand(width, generator=torch.Generator().manual_seed(time.time_ns() % 2**31))
        if harm == "half":
            self.norm.half()

    def get_input_embeddings(self):
        return self.embedding

    def get_output_embeddings(self):
        return self.head

    def forward(self, tokens):
        x = self.embedding(tokens)
        count = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)[:, None]
        for mix in self.mix:
            mean = x.mean(1, keepdim=True).expand_as(x) if self.harm == "looks ahead" else x.cumsum(1) / count
            x = x + torch.relu(mix(torch.cat([x, mean], dim=-1)))
        if self.harm == "random":
            x = x + 0.1 * torch.rand(())
        logits = self.head(self.norm(x.to(self.norm.weight.dtype)).float())
        return logits[:, :-1] if self.harm == "short" else logits


class Bare(nn.Module):
    def __init__(self, **arguments):
        super().__init__()
        self.table = nn.Embedding(arguments["vocab_size"], arguments["vocab_size"])

    def forward(self, tokens):
        return self.table(tokens)


class NoModule:
    def __init__(self, **arguments):
        pass
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with own_package(tmp_path, monkeypatch, "models", SOURCE) as name:
        yield name


def custom_settings(home: Path, package: str, **sections: Any) -> Settings:
    model = {"target": f"{package}.models:Mean", "context": 32}
    values = small_settings(home, **sections).model_dump(mode="json")
    return Settings.model_validate({**values, "model": model, "recipe": {**values["recipe"], "parametrisation": "sp"}})


def facts_with(facts: CorpusFacts) -> CorpusFacts:
    return dataclasses.replace(facts, scaled=scaled_custom)


def test_parameters_and_flops_are_those_of_the_class(package: str) -> None:
    trusting.trust((f"{package}.models",))
    shape = scaled_custom(CustomSpec(target=f"{package}.models:Mean", context=32), 24, 3, 8, 64)
    groups = count_params(shape)
    assert groups.embedding == groups.head == 64 * 24
    assert groups.matrices == 3 * 24 * 48
    assert groups.norms == 3 * 24 + 2 * 24
    assert shape.counts.flops_per_token == 6 * (groups.matrices + groups.head)  # no token is multiplied with another one
    with pytest.raises(SpecError, match=r"model\.config\.width is given to the class by a size; leave it out"):
        scaled_custom(CustomSpec(target=f"{package}.models:Mean", context=32, config={"width": 8}), 24, 3, 8, 64)


def test_a_sweep_of_it_resumes_bit_for_bit_and_is_read_without_it(
    package: str, home: Path, tmp_path: Path, corpus: Corpus, facts: CorpusFacts, capsys: pytest.CaptureFixture[str]
) -> None:
    trusting.trust((f"{package}.models",))
    settings = custom_settings(home, package, sweep={"sizes": [{"width": 16, "depth": 1}, {"width": 24, "depth": 1}]})
    straight = make_store(tmp_path / "straight", settings, corpus, facts_with(facts))
    assert work(straight, prepare_device("cpu"), lambda: False)
    stopped = make_store(tmp_path / "stopped", settings, corpus, facts_with(facts))
    calls = iter(range(10**6))
    assert not work(stopped, prepare_device("cpu"), lambda: next(calls) >= 15)
    assert work(stopped, prepare_device("cpu"), lambda: False)
    assert measured(stopped) == measured(straight)
    assert set(straight.states().values()) == {"COMPLETE"}
    forget(package)
    trusting.TRUSTED.clear()
    for command in (["status"], ["export", f"out={tmp_path / 'points.csv'}"], ["fit", "fit.bootstrap=0"]):
        assert main([command[0], str(straight.directory), *command[1:]]) == 0
    assert not [module for module in sys.modules if module.startswith(package)]
    capsys.readouterr()
    with pytest.raises(SpecError, match=f"add trust={package}.models"):
        work(straight, prepare_device("cpu"), lambda: False)
    assert not [module for module in sys.modules if module.startswith(package)]


def test_other_source_is_another_cell_and_no_worker_takes_it_for_the_planned_one(
    package: str, home: Path, tmp_path: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    trusting.trust((f"{package}.models",))
    settings = custom_settings(home, package, sweep={"budgets": [4096]})
    store = make_store(tmp_path / "sweep", settings, corpus, facts_with(facts))
    keys = set(store.plan_file.keys())
    (tmp_path / "lib" / package / "__init__.py").write_text("# a file that models.py may import from\n")
    with pytest.raises(SpecError, match="source has changed"):
        work(store, prepare_device("cpu"), lambda: False)
    other = make_store(tmp_path / "other", settings, corpus, facts_with(facts))
    assert not keys & set(other.plan_file.keys())


def test_a_cell_is_read_from_its_file_as_it_was_written(
    package: str, home: Path, tmp_path: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    trusting.trust((f"{package}.models",))
    store = make_store(tmp_path / "sweep", custom_settings(home, package), corpus, facts_with(facts))
    for content in Store(store.directory).plan_file.content()["cells"]:
        cell = cell_from_dict({k: v for k, v in content.items() if k != "key"})
        assert cell.key == content["key"]
        assert isinstance(cell.shape, ModuleShape)
        assert json.loads(cell.shape.config)["target"] == f"{package}.models:Mean"


@pytest.mark.parametrize(
    ("name", "config", "says"),
    [
        ("Mean", {"harm": "looks ahead"}, "causal"),
        ("Mean", {"harm": "random"}, "two forward passes"),
        ("Mean", {"harm": "unseeded"}, "two steps from one seed"),
        ("Mean", {"harm": "short"}, "forward gives shape"),
        ("Mean", {"harm": "unused"}, "more has no gradient"),
        ("Mean", {"harm": "half"}, "float32"),
        ("Mean", {"nothing": 1}, "nothing"),
        ("Bare", {}, "get_input_embeddings"),
        ("NoModule", {}, "torch.nn.Module"),
        ("Nobody", {}, "has no class Nobody"),
    ],
    ids=str,
)
def test_what_breaks_the_contract_is_refused_before_it_is_trained(
    package: str, name: str, config: dict[str, Any], says: str
) -> None:
    trusting.trust((f"{package}.models",))
    with pytest.raises(SpecError, match=says):
        scaled_custom(CustomSpec(target=f"{package}.models:{name}", context=16, config=config), 16, 1, 8, 32)


def test_trying_it_leaves_the_generator_as_it_was(package: str) -> None:
    trusting.trust((f"{package}.models",))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    scaled_custom(CustomSpec(target=f"{package}.models:Mean", context=16), 16, 1, 8, 32)
    assert torch.equal(torch.rand(3), expected)


def test_nothing_is_imported_without_trust(package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "sweep=smoke", "model=custom", f"model.target={package}.models:Mean", f"data.cache={tmp_path}"]
    assert main([*words, "trust=another.module"]) == 2
    said = capsys.readouterr().err
    assert f"trust={package}.models" in said
    assert said.count("\n") == 1
    assert not [module for module in sys.modules if module.startswith(package)]
    assert main([*words, "trust=no module"]) == 2


def test_settings_of_it_are_asked_for() -> None:
    with pytest.raises(SpecError, match=r"model\.target"):
        compose_settings(["model=custom"])
    with pytest.raises(SpecError, match=r"model\.target"):
        compose_settings(["model=custom", "model.target=os.system"])
    settings = compose_settings(["model=custom", "model.target=a.b:C", "model.config.ratio=3"])
    assert isinstance(settings.model, CustomSpec)
    assert settings.model.config == {"ratio": 3}
