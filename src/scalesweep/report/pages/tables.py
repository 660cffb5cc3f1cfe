"""Tables for other programs: the laws as CSV at full precision and as LaTeX for a paper, the back-test row by row."""

import numpy as np

from scalesweep.analysis.forecast.backtest import BackTest
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.interval import Interval
from scalesweep.report.tables import Entry, Table, write_csv
from scalesweep.report.words.fit import meaning
from scalesweep.units import format_number

_SYMBOLS = {
    "alpha": r"$\alpha$",
    "beta": r"$\beta$",
    "kappa": r"$\kappa$",
    "exponent": r"$\alpha$",
    "scale": r"$x_c$",
    "tokens_per_parameter": r"$D^*/N^*$",
}


def render_csv(fit: SweepFit) -> str:
    """One row a parameter: law, parameter, value, low, high, meaning; an end that is not known is empty."""
    rows: list[tuple[Entry, ...]] = []
    for name in fit.order:
        for parameter, estimate in fit[name].estimates.items():
            rows.append((name, parameter, estimate.value, estimate.low, estimate.high, meaning(name, parameter, fit.metric)))
    return write_csv(Table(("law", "parameter", "value", "low", "high", "meaning"), tuple(rows)))


def render_back_test(tested: BackTest) -> str:
    """One row a prediction: where it was made from, what was measured and predicted, the honest interval; nats per token."""
    rows: tuple[tuple[Entry, ...], ...] = ()
    if (seen := tested.outcomes) is not None:
        logs = np.stack([seen.actual, seen.centre, seen.lows["honest"], seen.highs["honest"]], axis=1)
        with np.errstate(over="ignore"):  # far from all points, where it abstains, an end may leave double precision
            losses = np.exp(logs)
        numbers = np.column_stack([seen.cut, seen.factor, seen.n, seen.d, losses]).tolist()
        rows = tuple((*line, str(shy).lower()) for line, shy in zip(numbers, seen.abstained, strict=True))
    head = ("cut", "factor", "n", "d", "measured", "predicted", "honest_low", "honest_high", "abstained")
    return write_csv(Table(head, rows))


def render_latex(fit: SweepFit) -> str:
    """A tabular with one row a parameter; it needs no package."""
    rows = [
        f"{name.replace('_', ' ')} & {_SYMBOLS.get(parameter, f'${parameter}$')} & "
        f"{_number(estimate.value)} & {latex_interval(estimate.interval)} \\\\"
        for name in fit.order
        for parameter, estimate in fit[name].estimates.items()
    ]
    head = [
        "\\begin{tabular}{llrl}",
        "\\hline",
        f"law & & estimate & {fit.confidence:.0%} interval \\\\".replace("%", "\\%"),
        "\\hline",
    ]
    return "\n".join([*head, *rows, "\\hline", "\\end{tabular}", ""])


def latex_interval(found: Interval | None) -> str:
    """The ends in mathematics; an end that the search did not find is open."""
    if found is None:
        return "--"
    low = "open" if found.is_low_open else _number(found.low)
    return f"[{low}, {'open' if found.is_high_open else _number(found.high)}]"


def _number(value: float) -> str:
    mantissa, _, exponent = format_number(value).partition("e")
    if mantissa in ("inf", "-inf"):
        return r"$\infty$"
    return f"${mantissa} \\cdot 10^{{{int(exponent)}}}$" if exponent else f"${mantissa}$"
