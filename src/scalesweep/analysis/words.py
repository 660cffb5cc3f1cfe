"""The preferred law in words: what more parameters and more tokens are worth where it was measured."""

import math

import numpy as np

from scalesweep.fit import SweepFit
from scalesweep.laws import JointLaw, format_count, format_number
from scalesweep.points import Points


def law_in_words(points: Points, fit: SweepFit) -> str:
    """What doubling N or D gains at the middle of the measured points, where the loss ends, and how the best size grows."""
    best = fit.preferred
    if best is None or not isinstance(best.law, JointLaw):
        return ""
    law, n, d = best.law, *(float(np.exp(np.log(column).mean())) for column in (points.n, points.d))
    here = float(law.predict(n, d))
    by_n, by_d = here - float(law.predict(2 * n, d)), here - float(law.predict(n, 2 * d))
    text = (
        f"At the middle of the points, N = {format_count(n)} and D = {format_count(d)}, the loss is {here:.3g} nats per token; "
        f"twice the parameters take {by_n:.2g} off it, twice the tokens {by_d:.2g}. With both without limit it ends at "
        f"E = {format_number(best.estimates['E'].value)}."
    )
    a = best.estimates.get("a")
    if a is None or not math.isfinite(a.value):
        return text
    return (
        f"{text} For the lowest loss at a given compute, ten times the compute asks for {10**a.value:.2g} times the parameters."
    )
