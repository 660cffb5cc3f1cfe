"""The laws as tables for other programs: CSV at full precision, LaTeX rounded for a paper."""

import csv
import io

from scalesweep.fit import SweepFit
from scalesweep.fit.summary import MEANINGS
from scalesweep.laws import format_number

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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["law", "parameter", "value", "low", "high", "meaning"])
    for name in fit.order:
        for parameter, estimate in fit.laws[name].estimates.items():
            ends = ["" if end is None else repr(end) for end in (estimate.low, estimate.high)]
            writer.writerow([name, parameter, repr(estimate.value), *ends, MEANINGS[parameter]])
    return text.getvalue()


def render_latex(fit: SweepFit) -> str:
    """A tabular with one row a parameter; it needs no package."""
    rows = [
        f"{name.replace('_', ' ')} & {_SYMBOLS.get(parameter, f'${parameter}$')} & "
        f"{_number(estimate.value)} & {_interval(estimate.low, estimate.high)} \\\\"
        for name in fit.order
        for parameter, estimate in fit.laws[name].estimates.items()
    ]
    head = [
        "\\begin{tabular}{llrl}",
        "\\hline",
        f"law & & estimate & {fit.confidence:.0%} interval \\\\".replace("%", "\\%"),
        "\\hline",
    ]
    return "\n".join([*head, *rows, "\\hline", "\\end{tabular}", ""])


def _interval(low: float | None, high: float | None) -> str:
    return "--" if low is None or high is None else f"[{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    mantissa, _, exponent = format_number(value).partition("e")
    if mantissa in ("inf", "-inf"):
        return r"$\infty$"
    return f"${mantissa} \\cdot 10^{{{int(exponent)}}}$" if exponent else f"${mantissa}$"
