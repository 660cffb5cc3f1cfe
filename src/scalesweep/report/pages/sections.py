"""Tables that only the page has: isoFLOP budgets, and published values with what they are compared by."""

from collections.abc import Sequence
from dataclasses import replace

from scalesweep.analysis.allocation.minima import Minimum
from scalesweep.points.design import MIN_SIZES
from scalesweep.report.review.published import PublishedRow, sources_table, values_table
from scalesweep.report.tables import Part, Table, Writer, cell, from_records
from scalesweep.units import format_count, format_number


def budgets_table(minima: Sequence[Minimum]) -> Table:
    """The minimum of each isoFLOP budget, or why there is none."""
    writers: dict[str, Writer] = {"n_opt": format_count, "d_opt": format_count, "log_n_se": format_number}
    rows = []
    for i, budget in enumerate(minima):
        path = f"approaches.isoflop.budgets.{i}"
        sizes = cell(budget.num_sizes, str, f"{path}.num_sizes")
        numbers = (cell(getattr(budget, name), write, f"{path}.{name}") for name, write in writers.items())
        if budget.num_sizes >= MIN_SIZES:
            rows.append((cell(budget.c, path=f"{path}.c"), sizes, *numbers, budget.rejection or budget.caveat))
    head = ("budget, FLOPs", "sizes", "N*", "D*", "se of ln N*", "remark")
    return Table(head, tuple(rows), kinds=("text", *["number"] * 4, "words"))


def published_table(rows: Sequence[PublishedRow]) -> Table:
    """Published values beside those of the analysis, in few columns."""
    return Table(
        ("study, quantity", "published", "here", "counted here", "comparison", "distance"),
        tuple(
            (
                f"{shown['study']}\n{shown['quantity']}",
                _lines(shown["published"], shown["published interval"]),
                _lines(_own(row), shown["interval here"]),
                f"{shown['counted here']}; by {shown['estimated here by']}" if row.own else "",
                shown["comparison"],
                row.distance,
            )
            for shown, row in zip(values_table(rows), rows, strict=True)
        ),
        kinds=("words", "number", "number", "words", "words", "words"),
    )


def wrapped_sources(rows: Sequence[PublishedRow]) -> Table:
    """Sources, counts and ranges of the published values; all but the study may wrap."""
    found = from_records(sources_table(rows))
    return replace(found, kinds=("text", *["words"] * (len(found.head) - 1)))


def _lines(value: Part, interval_words: str) -> tuple[Part, ...]:
    """A value with its interval below it, where there is one."""
    return (value,) if interval_words == "-" else (value, f"\n{interval_words}")


def _own(row: PublishedRow) -> Part:
    """The analysis's value, traceable where fit.json holds it; elsewhere it was refitted in the study's count."""
    if row.own is None:
        return "–"
    return cell(row.own.value, path=f"{row.path}.value") if row.path else format_number(row.own.value)
