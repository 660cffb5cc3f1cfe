"""Small settings and a small real corpus that the tests share."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from builders import small_settings

from scalesweep.plan.grid import CorpusFacts
from scalesweep.points.points import Points
from scalesweep.points.reading import read_points
from scalesweep.settings.settings import Settings
from scalesweep.train.data import count_windows, prepare
from scalesweep.train.data.corpus import Corpus

if TYPE_CHECKING:
    from scalesweep.run.store.store import Store

os.environ.setdefault("WANDB_MODE", "offline")
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no fault of an example
hypothesis.settings.load_profile("untimed")


LONG = ("slow", "slurm", "ray", "browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most long tests come first, so that no process begins one when the others have nothing left."""
    long = Counter(item.path for item in items if any(item.get_closest_marker(name) for name in LONG))
    items.sort(key=lambda item: -long[item.path])


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is not marked gpu runs on the CPU, also where there is a GPU."""
    if not any(item.get_closest_marker("gpu") for item in session.items):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


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
    return CorpusFacts(
        corpus.name,
        corpus.hash,
        corpus.vocab_size,
        count_windows(corpus.train_tokens, settings.model.context) * settings.model.context,
    )


@pytest.fixture(scope="session")
def reviewed_store(home: Path, corpus: Corpus, facts: CorpusFacts) -> "Store":
    """A measured sweep of 3 sizes, 4 budgets and 2 seeds, some seconds of training."""
    from scalesweep.plan.plan import make_plan
    from scalesweep.run.store.store import Store
    from scalesweep.run.worker import work
    from scalesweep.sweep.corpora import corpus_facts
    from scalesweep.train.device import prepare_device

    sizes = [{"width": width, "depth": 1} for width in (8, 16, 32)]
    sweep = {"sizes": sizes, "budgets": [2048, 4096, 8192, 16384], "seeds": [0, 1]}
    settings = small_settings(home, dir=str(home / "reviewed"), sweep=sweep)
    store = Store(Path(settings.dir))
    store.plan_file.create(make_plan(settings, facts, "cpu"), settings.model_dump(mode="json"), corpus_facts(corpus))
    assert work(store, prepare_device("cpu"), lambda: False, lambda line: None)
    return store


@pytest.fixture(scope="session")
def epoch() -> Points:
    """Chinchilla's points as Besiroglu et al. read them, without the five highest losses."""
    points = read_points(Path(__file__).parent / "data" / "epoch_chinchilla.csv")
    frame = points.frame.copy()
    frame.loc[frame["loss"].nlargest(5).index, "excluded_reason"] = "one of the five highest losses"
    return replace(points, frame=frame)
