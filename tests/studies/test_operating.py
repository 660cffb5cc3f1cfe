"""The rule of every study on tables of its own quick grid whose truth is known; docs/studies has 200 of each."""

from pathlib import Path

import pytest

from scalesweep.settings.compose import study_names
from scalesweep.studies.load import load_study
from scalesweep.studies.measure import compose_arms, design
from scalesweep.studies.simulate import operating, wrong_share

TABLES = 20
MOST = 3
"""Of 20 tables a rule that errs on 5 % errs on four or more once in 60 rows."""


@pytest.mark.slow
@pytest.mark.parametrize("name", study_names())
def test_a_rule_errs_at_its_thresholds_as_seldom_as_it_says(name: str) -> None:
    study = load_study(name)
    first = study.spec.parts[0].name  # whose word is the study's
    rows = operating(study, design(study, "quick"), TABLES, parts=[first], draws=60)  # for time
    assert [row["part"] for row in rows] == [first, first]
    for row in rows:
        assert wrong_share(row) <= MOST / TABLES, row


@pytest.mark.parametrize("name", study_names())
@pytest.mark.parametrize("form", ["quick", "full"])
def test_every_arm_composes(name: str, form: str) -> None:
    study = load_study(name)
    arms = compose_arms(study, "full" if form == "full" else "quick", (), Path("unused"))
    assert set(arms) == set((study.spec.full if form == "full" else study.spec.quick).arms)
