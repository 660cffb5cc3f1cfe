"""A proposal of cells as text for a terminal."""

import textwrap
from collections import Counter

from scalesweep.analysis.forecast.dated import Prediction
from scalesweep.analysis.forecast.exponent_cells import ExponentCells, Place
from scalesweep.analysis.forecast.next_cells import NextCell, NextCells
from scalesweep.errors import Refused
from scalesweep.units import format_count, format_number

_COLUMNS = f"  {'runs':>4}{'N':>8}{'D':>8}{'D/N':>8}{'C, FLOPs':>12}"


def summarise(proposal: NextCells) -> str:
    """The proposal as text for a terminal."""
    lines = [
        f"Next cells ({proposal.method}) for the loss at C = {format_number(proposal.target.c)} FLOPs, from {proposal.source}",
        f"{_COLUMNS}{'expected loss':>15}",
        *(f"{_row(cell, num)}{format_number(cell.loss):>15}" for cell, num in Counter(proposal.cells).items()),
    ]
    share = f"{proposal.confidence:.0%}"
    return "\n".join(
        [
            *lines,
            _price(proposal),
            f"  Expected {share} interval of the mean loss at the target:",
            *_promises(proposal),
            *textwrap.wrap(proposal.law, 98, initial_indent="  ", subsequent_indent="    "),
        ]
    )


def _row(cell: NextCell | Place, num: int) -> str:
    """Below `_COLUMNS`."""
    size, tokens, ratio = format_count(cell.n), format_count(cell.d), format_number(cell.d / cell.n)
    return f"  {num:>4}{size:>8}{tokens:>8}{ratio:>8}{format_number(cell.c):>12}"


def _price(proposal: NextCells | ExponentCells) -> str:
    return f"  They cost {format_number(proposal.spent_flops)} of {format_number(proposal.budget_flops)} FLOPs."


def summarise_exponent(proposal: ExponentCells) -> str:
    """The proposal of cells for the exponent a as text for a terminal."""
    lines = [
        f"Next cells for a, the exponent of the best size N* ~ C^a, from {proposal.source}",
        _COLUMNS,
        *(_row(cell, num) for cell, num in Counter(proposal.cells).items()),
    ]
    now = proposal.before
    known = (
        f"None now: {now}" if isinstance(now, Refused) else f"a now {now}, half-width {format_number((now.high - now.low) / 2)}"
    )
    after = "" if isinstance(now, Refused) else f"; expected after {format_number(proposal.half_width)}"
    return "\n".join(
        [
            *lines,
            _price(proposal),
            f"  {known}{after}.",
        ]
    )


def _promises(proposal: NextCells) -> list[str]:
    """Both intervals now and after, or why there are none."""
    before, after = proposal.before, proposal.after
    if isinstance(after, Refused):
        return _wrap(f"None, now or after: the tool abstains (A14). {after}")
    lines = []
    for kind, title in (("form", "if this form holds"), ("drift", "if exponents drift")):
        later: Prediction = getattr(after, kind)
        if isinstance(before, Refused):
            lines.append(f"    {title}   after {later}")
        else:
            lines.append(f"    {title}   now {getattr(before, kind)}   after {later.interval}")
    return [*lines, *(_wrap(f"None now: the tool abstains (A14). {before}") if isinstance(before, Refused) else [])]


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, 98, initial_indent="    ", subsequent_indent="    ")
