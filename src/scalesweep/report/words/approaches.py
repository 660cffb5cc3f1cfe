"""The comparison of approaches as text for a terminal, and as JSON-ready content."""

from scalesweep.analysis.allocation.approaches import Approaches, Bias
from scalesweep.analysis.allocation.lines import Approach
from scalesweep.errors import Refused
from scalesweep.fit.estimates import Estimate
from scalesweep.units import format_count, format_number


def summarise(comparison: Approaches) -> str:
    """A table of the approaches, what each says about itself, and the bias of approach 2."""
    return "\n".join([*table_lines(comparison), *sentences(comparison)])


def table_lines(comparison: Approaches) -> list[str]:
    """A title, and the table with one line an approach."""
    now, later = comparison.compared_at
    header = [
        "approach",
        "a",
        "interval",
        *(f"{x}*({format_number(c)})" for c in (now, later) for x in "ND"),
        "used",
        "left out",
    ]
    rows = [header, *(_cells(approach, comparison.compared_at) for approach in comparison.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [f"Compute-optimal allocation by three approaches, from {comparison.source}", *table]


def sentences(comparison: Approaches) -> list[str]:
    """What each approach says about itself, what the intervals are, and the bias of approach 2."""
    lines = [f"Approach {row.title}: {' '.join((row.status.value, *row.messages))}" for row in comparison.rows]
    return [*lines, *_interval_lines(comparison), *comparison.notes, describe_bias(comparison)]


def describe_bias(comparison: Approaches) -> str:
    """The known bias of approach 2 in a sentence, or why there is none."""
    if isinstance(comparison.bias, Refused):
        return f"Bias of approach 2 on this very design: not computed. {comparison.bias}"
    start = "Bias of approach 2 on this very design if the fitted surface were true: "
    budgets = f"{comparison.bias.num_budgets} of {len(comparison.minima.used)} budgets"
    return f"{start}{_bias_at(comparison.bias)}; exponent a {comparison.bias.a:+.4f} ({budgets})."


def _cells(approach: Approach, compared_at: tuple[float, ...]) -> list[str]:
    a = approach.a
    optima = [value for c in compared_at for value in (approach.n_opt(c), approach.d_opt(c))]
    counts = [str(approach.num_used), str(approach.num_rejected)]
    exponent = ["refused", "-"] if a is None else [f"{a.value:.3f}", _interval(a)]
    return [approach.title, *exponent, *("-" if v is None else format_count(v.value) for v in optima), *counts]


def _interval(a: Estimate) -> str:
    return f"[{a.interval.low:.3f}, {a.interval.high:.3f}]" if a.interval else "-"


def _interval_lines(comparison: Approaches) -> list[str]:
    """What the intervals are, by approach."""
    known = [row for row in comparison.rows if row.intervals]
    if not known:
        return ["Intervals: none (no noise is known, or no resamples were asked for)."]
    words = "; ".join(f"{row.title.split(',')[0]}: {row.intervals}" for row in known)
    return [f"Intervals: {known[0].confidence:.0%} percentiles. Approach {words}."]


def _bias_at(bias: Bias) -> str:
    return ", ".join(
        f"{n:+.1%} in N* and {d:+.1%} in D* at {format_number(c)} FLOPs" for c, n, d in zip(bias.c, bias.n, bias.d, strict=True)
    )
