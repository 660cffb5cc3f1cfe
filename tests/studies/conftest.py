"""The toy study, whose judge is a module of the user's own."""

from pathlib import Path

import pytest

from scalesweep.settings import trust as trusted
from scalesweep.studies.load import Study, load_study

TOY = Path(__file__).parent / "toy"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Study:
    """Loaded from its own directory, its judge trusted."""
    monkeypatch.syspath_prepend(TOY)
    monkeypatch.setattr(trusted, "TRUSTED", ["toy_judge"])
    return load_study("toy", [TOY])
