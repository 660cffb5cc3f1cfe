"""Studies in words: numbers with intervals and thresholds, on lines that a narrow terminal has room for."""

import math

import pytest
from study_results import AA, made, results

from scalesweep.cli.output import spell_out
from scalesweep.studies.base import Effect
from scalesweep.studies.words import (
    MARKS,
    Listed,
    controls_text,
    list_lines,
    number_text,
    scorecard_lines,
    study_lines,
    tally,
    threshold_texts,
)


@pytest.mark.parametrize(
    ("effect", "text"),
    [
        (Effect(0.32137, 0.28114, 0.37), "0.321 [0.281, 0.370]"),
        (Effect(0.32137, 0.11114, 0.57), "0.32 [0.11, 0.57]"),
        (Effect(-0.00237, -0.00574, 0.000996), "-0.0024 [-0.0057, 0.0010]"),
        (Effect(-0.0001, -0.5, 0.5), "0.00 [-0.50, 0.50]"),
        (Effect(0.2, 0.19, math.inf), "0.200 [0.190, open]"),
        (Effect(1234567.0, -math.inf, 2e6), "1,230,000 [open, 2,000,000]"),
        (Effect(6.714e12, 6.36e12, 7.06e12), "6.71e12 [6.36e12, 7.06e12]"),
        (Effect(0.03, 0.03 - 1e-10, 0.03 + 1e-10), "0.03000 [0.03000, 0.03000]"),
        (Effect(2.0, 2.0, 2.0), "2 [2, 2]"),
        (Effect(math.inf, 3.0, math.inf), "open [3, open]"),
        (Effect(0.2, math.nan, math.nan), "0.2"),
        (Effect(0.2, math.nan, 0.3), "0.20 [unknown, 0.30]"),
        (Effect.missing("no arm"), "no number"),
    ],
)
def test_a_number_stands_with_its_interval(effect: Effect, text: str) -> None:
    assert number_text(effect) == text
    assert number_text(effect, "nats") == (text if text == "no number" else f"{text} nats")


def test_thresholds_follow_the_direction_of_the_claim() -> None:
    effect = Effect(1.0, 0.9, 1.1)
    assert threshold_texts(made("up", effect).parts[0].part) == {"contradicted": "≤ 0", "supported": "≥ 0.1"}
    assert threshold_texts(made("down", effect, "at most", (2.0, 2.5)).parts[0].part) == {
        "contradicted": "≥ 2.5",
        "supported": "≤ 2",
    }
    assert threshold_texts(made("none", effect, at=(None, None)).parts[0].part) == {}


def test_controls_are_counted_and_failed_ones_named() -> None:
    assert controls_text([]) == "no controls"
    assert controls_text([AA]) == "1 of 1 control passed"
    assert controls_text(results()[3].controls) == "1 of 2 controls passed; failed: planted junk"


def test_the_tally_counts_every_word_once() -> None:
    assert tally(results()) == "5 claims: 1 supported, 1 contradicted, 1 cannot tell, 1 not valid, 1 reported"
    assert tally(results()[:1]) == "1 claim: 1 supported"


@pytest.mark.parametrize("width", [60, 80])
def test_lines_fit_and_say_everything(width: int) -> None:
    scorecard = scorecard_lines(results(), width)
    assert max(map(len, scorecard)) <= width
    for result in results():
        assert any(line.startswith(f"{MARKS[result.word]} {result.word}") for line in scorecard)
        lines = study_lines(result, width)
        assert max(map(len, lines)) <= width
        said = " ".join(" ".join(lines).split())
        assert result.spec.statement in said
        assert result.sentence in said
        for part in result.parts:
            assert f"{part.part.name}: {number_text(part.effect, part.part.unit)}" in said
            assert part.reason in said
        for control in result.controls:
            assert control.asks in said
    assert any(line.startswith("  FAILED") for line in study_lines(results()[3], width))


def test_the_signs_of_words_stay_different_in_ascii() -> None:
    """A terminal without ✓ must not show the sign of another word."""
    spell_out()
    assert len({sign.encode("ascii", "spelled") for sign in MARKS.values()}) == len(MARKS)


def test_nothing_is_shown_of_no_study() -> None:
    assert scorecard_lines([]) == []
    assert list_lines([]) == []


def test_the_list_has_the_price_where_it_is_known_and_says_what_was_never_judged() -> None:
    listed = [
        Listed("first", "A claim.", "Its counter.", "50 cells, 7.1 minutes", "supported, 2026-01-01"),
        Listed("second", "B.", "C."),
    ]
    assert list_lines(listed) == [
        "first",
        "  A claim.",
        "  against   Its counter.",
        "  price     50 cells, 7.1 minutes",
        "  verdict   supported, 2026-01-01",
        "second",
        "  B.",
        "  against   C.",
        "  verdict   not judged here yet",
    ]


def test_a_sentence_ends_in_the_words_of_the_parts_that_have_one() -> None:
    first, *_, last = results()
    assert first.sentence == "Doubling the parameters saves 24 % [18, 29] of the tokens on these runs. Saving: supported."
    assert last.sentence == last.findings.sentence
