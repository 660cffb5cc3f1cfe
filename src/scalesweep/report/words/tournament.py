"""A tournament as text for a terminal."""

import math

import numpy as np

from scalesweep.analysis.forecast.rivals import TITLES
from scalesweep.analysis.forecast.tournament import Tournament
from scalesweep.units import format_count, format_number


def summarise(result: Tournament) -> str:
    """The rivals, best forecaster first, their mean and envelope, and on what the ranking rests."""
    n, d = result.at
    best = min(standing.aicc for standing in result.standings)
    lines = [
        f"Rival laws on {result.num_points} points, {result.source}; rms errors of log loss, best forecaster first",
        f"  {'form':<18}{'fit':>8}{'size out':>10}{'budget out':>12}{'rolling':>9}{'dAICc':>9} | "
        f"{'loss':>7}{'-dlnL/dlnN':>12}{'/dlnD':>8}",
    ]
    for row in result.standings:
        errors = (row.residual_rms, row.size_rms, row.budget_rms, row.rolling_rms)
        fit, size, budget, rolling = (_known(value, ".2%") for value in errors)
        slopes = (_known(value, ".4f") for value in (row.exponents.by_n, row.exponents.by_d))
        lines.append(
            f"  {TITLES.get(row.name, row.name):<18}{fit:>8}{size:>10}{budget:>12}{rolling:>9}"
            f"{_known(row.aicc - best, '.1f'):>9} | {format_number(row.loss):>7}{next(slopes):>12}{next(slopes):>8}"
        )
    lines += [f"  {TITLES.get(name, name)}: refused. {reason}" for name, reason in result.rivals.refusals.items()]
    at_n, at_d = np.array([n]), np.array([d])
    band = result.envelope(at_n, at_d)
    lines += [
        f"  At N = {format_count(n)}, D = {format_count(d)} tokens: mean of the forms {format_number(result.mean(n, d)[0])}, "
        f"envelope [{format_number(band.low[0])}, {format_number(band.high[0])}].",
        f"  Rolling origin by compute: {len(result.tested.cuts)} origins; size out and budget out: at most 10 folds of levels.",
    ]
    return "\n".join(lines)


def _known(value: float, form: str) -> str:
    """A number, or a dash where it could not be measured."""
    return format(value, form) if math.isfinite(value) else "-"
