"""Settings, stores, cells and trained runs that the tests share."""

import contextlib
import dataclasses
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.run.checkpoints import load_checkpoint, save_checkpoint
from scalesweep.run.store.store import Store
from scalesweep.settings import trust as trusting
from scalesweep.settings.settings import Settings, parse_settings
from scalesweep.sweep.corpora import corpus_facts
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, train
from scalesweep.train.pack import Outcome, Run

UNDER_NOHUP = pytest.mark.skipif(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="the tests run under nohup")
HANGUP = pytest.param(signal.SIGHUP, 130, marks=UNDER_NOHUP)
"""SIGHUP and the exit code that follows it."""
IN_BACKGROUND = pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="a script runs the tests in the background, which ignores SIGINT"
)
INTERRUPT = pytest.param(signal.SIGINT, 130, marks=IN_BACKGROUND)
"""SIGINT and the exit code that follows it."""
FACTS = CorpusFacts("text", "0123", 64, 10**6)
TOKENS = (np.arange(40_000) ** 2 // 7 % 61 % 64).astype(np.uint16)
CPU = prepare_device("cpu")  # one thread
PACK_TOLERANCE = 1e-4
"""Largest difference of a loss, in nats per token, between a run in a pack and the run alone after some tens of steps."""
BUDGETS = [8192, 12288, 16384]
"""Long enough for one warm-up, so that they have one trunk."""


def small_settings(directory: Path, **sections: dict[str, Any]) -> Settings:
    """Settings of a sweep of a few seconds; each keyword updates a section."""
    values: dict[str, Any] = {
        "dir": str(directory / "sweep"),
        "sweep": {"name": "tiny", "sizes": [{"width": 16, "depth": 1}, {"width": 32, "depth": 1}], "budgets": [4096, 16384]},
        "recipe": {
            "name": "test",
            "parametrisation": "completep",
            "depth": 1,
            "head_dim": 8,
            "lr": 0.004,
            "base_width": 64,
            "base_depth": 1,
            "embedding_lr_ratio": 2.0,
            "batch_tokens": 128,
            "batch_exponent": 0.0,
            "reference_tokens": 1000,
            "warmup_steps": 4,
            "warmup_fraction": 0.1,
        },
        "model": {"context": 32, "ffn_ratio": 2.6667, "qk_norm": True, "rope_theta": 10000.0, "embedding_std": 1.0},
        "data": {"source": "python", "max_bytes": 200_000, "tokenizer": {"kind": "bytes"}, "cache": str(directory / "cache")},
        "optim": {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "grad_clip": 1.0},
        "train": {
            "schedule": "wsd",
            "decay_fraction": 0.2,
            "device": "cpu",
            "precision": "float32",
            "validation_tokens": 1024,
            "curve_points": 10,
            "checkpoint_seconds": 30.0,
        },
        "launcher": {"name": "inline"},
        "logger": {"mode": "disabled"},
        "fit": {"bootstrap": 50},
    }
    for name, section in sections.items():
        values[name] = {**values[name], **section} if isinstance(values.get(name), dict) else section
    return parse_settings(values)


@contextlib.contextmanager
def own_package(home: Path, patch: pytest.MonkeyPatch, module: str, source: str) -> Iterator[str]:
    """The name of a package of the user's own with one module, which can be imported and is not trusted yet."""
    name = f"own_{abs(hash(home)) % 10**8}"
    (home / "lib" / name).mkdir(parents=True)
    (home / "lib" / name / "__init__.py").touch()
    (home / "lib" / name / f"{module}.py").write_text(source)
    patch.syspath_prepend(str(home / "lib"))
    patch.setattr(trusting, "TRUSTED", [])
    yield name
    forget(name)


def forget(package: str) -> None:
    """Let what was imported of a package be imported anew."""
    for module in [module for module in sys.modules if module.startswith(package)]:
        del sys.modules[module]


def make_store(directory: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts) -> Store:
    store = Store(directory)
    store.plan_file.create(make_plan(settings, facts, "cpu"), settings.model_dump(mode="json"), corpus_facts(corpus))
    return store


def measured(store: Store) -> dict[str, Any]:
    """Everything that was measured, apart from times and places."""
    kept = {}
    for key in store.plan_file.keys():
        record = store.record(key)
        assert record is not None
        curve = [{k: v for k, v in point.items() if k != "tokens_per_second"} for point in store.curve(key)]
        kept[key] = {k: v for k, v in record.items() if k not in ("times", "where")}, curve
    return kept


def command_line(directory: Path, settings: Settings) -> list[str]:
    """The command that runs `settings` in `directory`, by a preset of their own."""
    configs = directory / "configs"
    (configs / "sweep").mkdir(parents=True, exist_ok=True)
    values = settings.model_dump(mode="json", exclude={"dir"})
    (configs / "sweep" / "tiny.yaml").write_text("# @package _global_\n" + yaml.safe_dump(values))
    overrides = ["--config-dir", str(configs), "sweep=tiny", f"dir={directory / 'killed'}"]
    return [sys.executable, "-m", "scalesweep", "run", *overrides]


def cell_of(parametrisation: str, width: int = 64, depth: int = 2, seed: int = 0, **recipe: Any) -> Cell:
    """A cell whose base model has width 64 and depth 2."""
    base = {"parametrisation": parametrisation, "head_dim": 16, "base_width": 64, "base_depth": 2, "lr": 0.006}
    settings = small_settings(
        Path("."),
        sweep={"name": "x", "sizes": [{"width": width, "depth": depth}], "budgets": ["16k"], "seeds": [seed]},
        recipe={**base, "embedding_lr_ratio": 4.0, "batch_tokens": 128, **recipe},
    )
    return make_plan(settings, FACTS, "cpu").cells[0]


def arrays(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    return np.array(corpus.train()), np.array(corpus.validation())


def run_alone(
    cell: Cell,
    corpus: Corpus,
    checkpoint: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    micro_batch: int | None = None,
    seconds: float = 1e9,
) -> Outcome:
    """One cell alone, from its checkpoint if there is one."""
    hooks, start = Hooks(should_stop=should_stop), None
    if checkpoint is not None:
        hooks = Hooks(on_checkpoint=lambda _, state: save_checkpoint(checkpoint, state), should_stop=should_stop)
        start = load_checkpoint(checkpoint, cell.key)
    execution = Execution(CPU, micro_batch, checkpoint_seconds=seconds)
    return train([Run(cell, start)], *arrays(corpus), execution, hooks)[0]


def run_pack(runs: Sequence[Cell | Run], corpus: Corpus, hooks: Hooks = Hooks()) -> list[Outcome]:  # noqa: B008
    """Several runs together."""
    runs = [Run(r) if isinstance(r, Cell) else r for r in runs]
    return train(runs, *arrays(corpus), Execution(CPU), hooks)


def untimed(outcome: Outcome) -> Outcome:
    """All but times and where the steps came from."""
    curve = [{k: v for k, v in point.items() if k != "tokens_per_second"} for point in outcome.curve]
    return dataclasses.replace(outcome, seconds=0.0, shared_steps=0, curve=curve)


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    program = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.splitlines()[-1].split()}


def one_size(home: Path, **sections: Any) -> Settings:
    sweep = {"name": "branches", "sizes": [{"width": 16, "depth": 1}], "budgets": BUDGETS} | sections.pop("sweep", {})
    return small_settings(home, sweep=sweep, **sections)
