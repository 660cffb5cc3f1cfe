"""The four words by their rule."""

import math
from pathlib import Path

import pytest

from scalesweep.errors import SpecError
from scalesweep.settings import trust
from scalesweep.settings.base import parse
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.study import PartSpec, StudySpec
from scalesweep.studies.base import Control, Effect, decide
from scalesweep.studies.load import Study, load_study

UP = PartSpec(name="up", asks="?", claim_at=0.1, null_at=0.0)
DOWN = PartSpec(name="down", asks="?", claims="at most", claim_at=-0.1, null_at=0.0)


@pytest.mark.parametrize(
    ("effect", "word"),
    [
        (Effect(0.2, 0.1, 0.3), "supported"),
        (Effect(0.2, 0.1 - 1e-12, 0.3), "cannot tell"),
        (Effect(-0.1, -0.2, 0.0), "contradicted"),
        (Effect(-0.1, -0.2, 1e-12), "cannot tell"),
        (Effect(0.05, 0.04, 0.06), "cannot tell"),
        (Effect(0.2, 0.15, math.inf), "supported"),
        (Effect(0.2, 0.15, 0.3, "a row is missing"), "cannot tell"),
        (Effect(0.2, math.nan, math.nan), "cannot tell"),
    ],
)
def test_words(effect: Effect, word: str) -> None:
    assert decide(UP, effect).word == word
    mirrored = Effect(-effect.value, -effect.high, -effect.low, effect.withheld)
    assert decide(DOWN, mirrored).word == word


def test_a_number_without_thresholds_is_reported() -> None:
    assert decide(PartSpec(name="a", asks="?"), Effect(1.0, 0.0, 2.0)).word == "reported"


def test_a_failed_control_withholds_every_word() -> None:
    failed = Control("A/A", "the same arm has no effect", False)
    assert decide(UP, Effect(0.2, 0.1, 0.3), [failed]).word == "not valid"


def test_it_says_what_a_verdict_would_take() -> None:
    # Half the interval is twice the way to the threshold: four times the runs.
    assert "about 4 times the runs" in decide(UP, Effect(0.2, 0.0, 0.4)).reason
    assert "more runs would not help" in decide(UP, Effect(0.05, -0.1, 0.2)).reason


@pytest.mark.parametrize(
    "change",
    [
        {"claim_at": 0.0, "null_at": 0.1},
        {"claims": "at most", "claim_at": 0.1, "null_at": 0.0},
        {"claim_at": 0.1},
        {"claims": "about", "claim_at": 0.1, "null_at": 0.0},
    ],
)
def test_thresholds_that_make_no_rule_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        parse(PartSpec, {"name": "up", "asks": "?", **change})


def test_a_study_must_name_its_parts(toy: Study) -> None:
    values = toy.spec.model_dump(mode="json")
    for change in ({"planted": [{"part": "nobody", "theta": 0, "word": "supported"}]}, {"sealed": {"nobody": "gain"}}):
        with pytest.raises(SpecError, match="nobody"):
            parse(StudySpec, {**values, **change})


def test_a_judge_of_ones_own_must_be_trusted(toy: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "TRUSTED", [])
    with pytest.raises(SpecError, match="trust=toy_judge"):
        load_study("toy", [Path(__file__).parent / "toy"])


def test_a_study_is_no_setting_of_a_sweep() -> None:
    with pytest.raises(SpecError, match="scalesweep study sample_efficiency"):
        compose_settings(["study=sample_efficiency"])
