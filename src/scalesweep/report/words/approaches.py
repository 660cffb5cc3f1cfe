"""The comparison of approaches as text for a terminal, and as JSON-ready content."""

from scalesweep.analysis.allocation.approaches import Approaches, Bias
from scalesweep.analysis.allocation.lines import Approach
from scalesweep.errors import Refused
from scalesweep.fit.estimates import outside
from scalesweep.report.tables import Table, cell, interval_parts, write_plain
from scalesweep.units import format_count, format_number, format_share


def summarise(comparison: Approaches) -> str:
    """A table of the approaches, what each says about itself, and the bias of approach 2."""
    return "\n".join([write_plain(approaches_table(comparison), ""), *sentences(comparison)])


def approaches_table(comparison: Approaches) -> Table:
    """One line an approach: its exponent, and its optima at the largest measured compute and beyond."""
    at = [cell(c, path=f"approaches.compared_at.{i}") for i, c in enumerate(comparison.compared_at)]
    rows = []
    for i, row in enumerate(comparison.rows):
        path, a = f"approaches.approaches.{i}", row.a
        optima = [
            cell(found.value if (found := optimum(c)) else None, format_count, f"{path}.{x}_opt.{k}.value")
            for k, c in enumerate(comparison.compared_at)
            for x, optimum in (("n", row.n_opt), ("d", row.d_opt))
        ]
        exponent = (cell(a.value, path=f"{path}.a.value"), " ", *interval_parts(a.interval, f"{path}.a")) if a else "refused"
        counts = (cell(getattr(row, name), str, f"{path}.{name}") for name in ("num_used", "num_rejected"))
        rows.append((row.title, exponent, *optima, *counts))
    return Table(
        ("approach", "a", *((f"{x}* at ", c) for c in at for x in "ND"), "used", "left out"),
        tuple(rows),
        f"Compute-optimal allocation by three approaches, from {comparison.source}",
        ("text", *["number"] * (3 + 2 * len(at))),
    )


def sentences(comparison: Approaches) -> list[str]:
    """What each approach says about itself, what the intervals are, and the bias of approach 2."""
    if not comparison.compared_at:
        return [f"Lower envelope, IsoFLOP minima and fitted law: withheld. {comparison.rows[0].messages[0]}"]
    lines = [f"{start(row)}: {' '.join((row.status.value, *row.messages))}" for row in comparison.rows]
    lines += [f"{start(row)}: {said}" for row in comparison.rows if row.a for said in outside({"a": row.a})]
    return [*lines, *_interval_lines(comparison), *comparison.notes, describe_bias(comparison)]


def start(row: Approach) -> str:
    """The approach's title as a sentence begins."""
    return f"{row.title[0].upper()}{row.title[1:]}"


def describe_bias(comparison: Approaches) -> str:
    """The known bias of approach 2 in a sentence, or why there is none."""
    if isinstance(comparison.bias, Refused):
        return f"Bias of IsoFLOP minima on this very design: not computed. {comparison.bias}"
    begin = "Bias of IsoFLOP minima on this very design if the fitted surface were true: "
    budgets = f"{comparison.bias.num_budgets} of {len(comparison.minima.used)} budgets"
    return f"{begin}{_bias_at(comparison.bias)}; exponent a {comparison.bias.a:+.4f} ({budgets})."


def _interval_lines(comparison: Approaches) -> list[str]:
    """What the intervals are, by approach."""
    known = [row for row in comparison.rows if row.intervals]
    if not known:
        return ["Intervals: none (no noise is known, or no resamples were asked for)."]
    words = "; ".join(f"{row.title}: {row.intervals}" for row in known)
    return [f"Intervals: {known[0].confidence:.0%} percentiles; {words}."]


def _bias_at(bias: Bias) -> str:
    return ", ".join(
        f"{format_share(n, 1, '+')} in N* and {format_share(d, 1, '+')} in D* at {format_number(c)} FLOPs"
        for c, n, d in zip(bias.c, bias.n, bias.d, strict=True)
    )
