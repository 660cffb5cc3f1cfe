"""Small settings and a small real corpus that the tests share."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scalesweep.plan.grid import CorpusFacts
from scalesweep.report.charts import canvas
from scalesweep.settings.settings import Settings, parse_settings
from scalesweep.train.data import prepare, unique_tokens
from scalesweep.train.data.corpus import Corpus

if TYPE_CHECKING:
    from scalesweep.run.store.store import Store

os.environ.setdefault("WANDB_MODE", "offline")

UNDER_NOHUP = pytest.mark.skipif(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="the tests run under nohup")
HANGUP = pytest.param(signal.SIGHUP, 130, marks=UNDER_NOHUP)
"""SIGHUP and the exit code that follows it."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is not marked gpu runs on the CPU, also where there is a GPU."""
    if not any(item.get_closest_marker("gpu") for item in session.items):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True)
def few_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have figures of one kind, which are most of their time, but in the tests of the report."""
    if request.path.name not in ("test_report.py", "test_check.py"):
        draw = canvas.draw
        monkeypatch.setattr(canvas, "draw", lambda chart, theme=canvas.LIGHT, kinds=("svg",): draw(chart, theme, kinds))


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


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that outlives single tests; it holds the prepared corpus."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def settings(home: Path) -> Settings:
    """Four cells, some hundred milliseconds of training."""
    return small_settings(home)


@pytest.fixture(scope="session")
def corpus(settings: Settings) -> Corpus:
    """200 kB of the running environment's Python source, byte level."""
    return prepare(settings.data)


@pytest.fixture(scope="session")
def facts(corpus: Corpus, settings: Settings) -> CorpusFacts:
    """What a plan needs to know of the corpus."""
    return CorpusFacts(corpus.name, corpus.hash, corpus.vocab_size, unique_tokens(corpus.train_tokens, settings.model.context))


@pytest.fixture(scope="session")
def reviewed_store(home: Path, corpus: Corpus, facts: CorpusFacts) -> "Store":
    """A measured sweep of 3 sizes, 4 budgets and 2 seeds, some seconds of training."""
    from scalesweep.plan.plan import make_plan
    from scalesweep.run.store.store import Store
    from scalesweep.run.worker import work
    from scalesweep.sweep.run import corpus_facts
    from scalesweep.train.device import prepare_device

    sizes = [{"width": width, "depth": 1} for width in (8, 16, 32)]
    sweep = {"sizes": sizes, "budgets": [2048, 4096, 8192, 16384], "seeds": [0, 1]}
    settings = small_settings(home, dir=str(home / "reviewed"), sweep=sweep)
    store = Store(Path(settings.dir))
    store.plan_file.create(make_plan(settings, facts, "cpu"), settings.model_dump(mode="json"), corpus_facts(corpus))
    assert work(store, prepare_device("cpu"), lambda: False, lambda line: None)
    return store
