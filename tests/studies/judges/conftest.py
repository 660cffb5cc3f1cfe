"""The study that a module of tests is of, by its name, and its quick design."""

import pytest

from scalesweep.studies.base import Arms
from scalesweep.studies.load import Study, load_study
from scalesweep.studies.measure import design


@pytest.fixture(scope="module")
def study(request: pytest.FixtureRequest) -> Study:
    return load_study(request.module.__name__.removeprefix("test_"))


@pytest.fixture(scope="module")
def arms(study: Study) -> Arms:
    """The rows of the quick form, all of loss 1."""
    return design(study, "quick")
