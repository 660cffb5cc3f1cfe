"""Made-up results of studies, one of each word, for the tests of what shows them."""

import math
from typing import Any

import numpy as np

from scalesweep.report.charts.chart import Band, Chart, Dots, Line, Missing, Panel, Rule, linear_axis, log_axis, log_scale
from scalesweep.settings.study import FormSpec, PartSpec, StudySpec
from scalesweep.studies.base import Control, Effect, Findings
from scalesweep.studies.result import Result, result_of

HOSTILE = '<script>alert("x")</script> & <b>bold</b>'
FORM = FormSpec(arms={"base": ()})
AA = Control("A/A", "The same arm with other seeds has no effect", True, 0.987, 0.961, 1.012, 1.0)
FLOOR = Control("floor", "No run ends below the entropy of its source", True)
ORIGIN = {
    "cells": {"base": [f"{i:016x}" for i in range(61)]},
    "corpora": {"9f0c": "python-prose-8MB-bpe512"},
    "overrides": {"common": ["sweep=demo"], "arms": {"base": [], "short": ["recipe.decay=0.4"]}},
    "sealed": None,
    "cost": {"flops": 1.92e14, "seconds": 431.5, "device": "cpu"},
    "rule": "9f2c61d07be3aa10",
}


def lines(name: str = "tokens_to_loss", panels: int = 2) -> Chart:
    """Losses by size, coloured by a scale, and an exponent with a band."""
    n, d = np.array([14e3, 42e3, 80e3]), np.geomspace(1.3e5, 1e6, 4)
    scale = log_scale("n", n)
    marks: list[Any] = []
    for size in n:
        loss = 1.9 + 60 / size**0.4 + 90 / d**0.4
        marks += [Line(d, loss, float(size)), Dots(d, loss, np.full(4, size), loss - 0.03, loss + 0.03)]
    first = Panel("Loss by training tokens", log_axis("d", d), log_axis("loss", np.array([2.5, 5.0])), tuple(marks))
    x = np.geomspace(14e3, 80e3, 20)
    second = Panel(
        "Tokens for a loss of 3.2, as N<sup>−s</sup>",
        log_axis("n", x),
        linear_axis("factor", "tokens against the smallest model", np.array([0.3, 1.1])),
        (
            Band(x, (x / 14e3) ** -0.5, (x / 14e3) ** -0.3),
            Line(x, (x / 14e3) ** -0.4, "fit", name="joint law"),
            Line(x, (x / 14e3) ** -0.35, "first", "dash", name="the same law with a floor that was measured"),
            Dots(n, (n / 14e3) ** -0.42, "second", name="interpolated between runs"),
            Rule("y", 1.0, "dot"),
        ),
        note="Levels that fewer than three sizes reach are left out.",
    )
    return Chart(name, "How many tokens a size needs for a loss.", (first, second)[:panels], scale)


def made(
    name: str,
    effect: Effect,
    claims: str = "at least",
    at: tuple[float | None, float | None] = (0.1, 0.0),
    controls: tuple[Control, ...] = (AA, FLOOR),
    **changes: Any,
) -> Result:
    """A study of two parts, of which the second has no thresholds."""
    first = PartSpec(
        name="saving", asks="Elasticity of tokens by N at equal loss", claims=claims, claim_at=at[0], null_at=at[1]
    )
    second = PartSpec(name="at_largest", asks="The same at the largest budget", unit="nats")
    spec = StudySpec(
        statement=changes.pop("statement", "Larger models reach the same loss with fewer tokens."),
        counter="The saving vanishes once a model is large for the loss.",
        judge="made_up",
        parts=(first, second),
        quick=FORM,
        full=FORM,
    )
    findings = Findings(
        {"saving": effect, "at_largest": Effect(0.2137, 0.19, math.inf, says="at the largest budget 0.21 nats, or more")},
        changes.pop("sentence", "Doubling the parameters saves 24 % [18, 29] of the tokens on these runs."),
        changes.pop("chart", lines()),
        controls,
        noise=0.0046,
        notes=("Levels of loss are the quartiles of the range that three sizes bracket.",),
        tables={
            "Tokens to a loss": [{"N": 14_000, "L": 3.25, "tokens": 312_345.678}, {"N": 42_000, "L": 3.25, "tokens": math.nan}]
        },
    )
    return result_of(name, "quick", spec, findings, origin=ORIGIN, **changes)


OPERATING = [
    {
        "part": "saving",
        "truth": "null",
        "theta": 0.0,
        "tables": 200,
        "supported": 0.015,
        "contradicted": 0.79,
        "cannot_tell": 0.195,
    },
    {
        "part": "saving",
        "truth": "claim",
        "theta": 0.1,
        "tables": 200,
        "supported": 0.625,
        "contradicted": 0.0,
        "cannot_tell": 0.375,
    },
]
"""As `simulate` gives them."""


def results() -> list[Result]:
    """Supported, contradicted, cannot tell, not valid, and a hostile one whose first part is a number alone."""
    broken = Control("planted junk", "A third of constant windows is worth a factor of 2/3", False, 0.91, 0.88, 0.94, 2 / 3)
    return [
        made("sample_efficiency", Effect(0.3967, 0.2871, 0.4913, says="doubling N saves 24 % [18, 29]"), operating=OPERATING),
        made(
            "inference_aware",
            Effect(4.76, 3.31, 6.2),
            "at most",
            (2.0, 2.5),
            statement="Training and inference should cost about the same when a model is sized for both.",
            chart=lines("costs", 1),
        ),
        made(
            "diminishing_returns",
            Effect(0.08, -0.03, 0.21),
            statement="Every doubling of compute buys less than the one before.",
            chart=Missing("returns", "Gain of a doubling by compute", "There are fewer than three budgets."),
        ),
        made(
            "data_quality", Effect(1.75, 1.6, 1.9), at=(1.2, 1.0), controls=(AA, broken), statement="Filtering multiplies data."
        ),
        made("hostile", Effect.missing(HOSTILE), at=(None, None), statement=HOSTILE, sentence=HOSTILE, controls=()),
    ]
