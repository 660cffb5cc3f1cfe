"""A table whose columns are chosen, on its way to points: numbers out of cells, and all that is wrong with them at once."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.points.formats import Table
from scalesweep.points.values import DecimalMark, is_blank, is_empty, is_uncertain, number, numbers, typed

_REMEDY = "give a positive number, or leave the row out by an excluded_reason or by state=diverged"
_NAMED = 2
"""Rows that a message names beside the first; the rest are counted."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """The rows that were asked for, with what their columns mean."""

    table: Table
    names: Mapping[str, str]
    """Role -> column."""
    source: str
    """Where the rows come from."""
    reasons: Sequence[str]
    """Why each row is left out; empty where it is used."""
    rows: Sequence[int]
    """Number of each row in its file, from 1."""
    mark: DecimalMark = "?"
    """What the file writes before decimals."""
    factors: Mapping[str, float] = field(default_factory=dict)
    """By which a role's numbers are multiplied."""

    def numbers(self, role: str) -> FloatArray:
        """The numbers of a role, NaN where there is none, shape (rows,)."""
        return self.factors.get(role, 1.0) * numbers(self.table[self.names[role]], self.mark, _is_rate(role))

    def check(self, roles: Iterable[str]) -> None:
        """See that the used rows hold positive numbers, and standard errors of 0 or more.

        Raises:
            PointsError: one sentence that names, column by column, the first bad cell, and counts the others.
        """
        found = [complaint for role in roles if (complaint := self._complaint(role, self._bad(role)))]
        if "loss_se" in self.names and (bad := self._bad("loss_se")):
            column = self.names["loss_se"]
            value, more = self.table[column][bad[0]], self._more(bad)
            place = f"row {self.rows[bad[0]]}, column {column}"
            found.append(f"{place}: {value!r} is not a standard error (0 or more, or empty){more}")
        if found:
            raise PointsError(f"{self.source}: {'; '.join(found)}.")

    def others(self, taken: Iterable[str]) -> dict[str, list[Any]]:
        """The columns without a role whose names are not taken, numbers where all their cells are."""
        used = {*self.names.values(), *taken}
        return {name: typed(cells, self.mark) for name, cells in self.table.items() if name not in used}

    def _bad(self, role: str) -> list[int]:
        """Positions of used rows whose cell is not what the role needs."""
        cells, found = self.table[self.names[role]], self.numbers(role)
        if role == "loss_se":
            wrong = [not (is_empty(cell) or (math.isfinite(x) and x >= 0)) for cell, x in zip(cells, found, strict=True)]
        else:
            wrong = [not (math.isfinite(x) and x > 0) for x in found]
        return [i for i, is_wrong in enumerate(wrong) if is_wrong and not self.reasons[i]]

    def _complaint(self, role: str, bad: Sequence[int]) -> str:
        if not bad:
            return ""
        column, value = self.names[role], self.table[self.names[role]][bad[0]]
        place = f"row {self.rows[bad[0]]}, column {column}"
        one, remedy = number(value, self.mark, _is_rate(role)), _REMEDY
        if is_blank(value):
            what = "the value is missing"
        elif is_uncertain(value, self.mark):
            what = f"{value!r} is two numbers, by whether the comma or the point stands before decimals"
            remedy = "write it without a separator of thousands"
        elif math.isnan(one):
            what = f"{value!r} is not a number"
        else:
            what = f"{value!r} is {'not finite' if math.isinf(one) else 'zero' if one == 0 else 'negative'}"
            remedy = "n, d, c and loss must be positive numbers"
        return f"{place}: {what}{self._more(bad)}; {remedy}"

    def _more(self, bad: Sequence[int]) -> str:
        """The other bad rows of a column: `(as are rows 7, 9 and 12 more)`."""
        if len(bad) == 1:
            return ""
        named = [str(self.rows[i]) for i in bad[1 : 1 + _NAMED]]
        rest = len(bad) - 1 - len(named)
        words = f"{', '.join(named)} and {rest} more" if rest else " and ".join(named)
        return f" (bad as well: row{'s' if len(bad) > 2 else ''} {words})"


def _is_rate(role: str) -> bool:
    """Whether 12% is 0.12; of counts it is nothing."""
    return role in ("loss", "loss_se")
