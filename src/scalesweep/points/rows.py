"""The measured rows as estimators take them: columns in one order, with what is drawn together in a resample."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.points.clusters import Units, group_rows, separate_rows
from scalesweep.points.compute import SIX, compute_of
from scalesweep.points.points import Points


@dataclass(frozen=True, eq=False)
class Rows:
    """Measured runs; every array has shape (rows,), and is NaN where the table does not say the variable."""

    n: FloatArray
    """Parameters."""
    d: FloatArray
    """Training tokens."""
    c: FloatArray
    """Training FLOPs."""
    loss: FloatArray
    """Nats per token."""
    units: Units
    """Which rows are resampled together."""
    order: IntArray
    """Position of each row in the table that it comes from."""
    k: float | None = SIX
    """Compute optima take C as k N D; None where the units of N, D and C contradict each other."""
    u: FloatArray | None = None
    """Unique tokens among D; None: all are."""

    def __len__(self) -> int:
        return len(self.loss)

    @classmethod
    def of(cls, points: Points) -> "Rows":
        """The used rows by size, budget and loss, so that an estimate does not depend on the order of the table.

        Of exact copies, which tell nothing that the first does not, one is kept: no estimate, scale or criterion depends on
        how often a table says a thing.
        """
        n, d, c, loss = points.n, points.d, points.c, points.loss
        units, compute = group_rows(points.used), compute_of(points)
        order = np.lexsort((units.unit, points.u, loss, c, d, n) if points.is_partial else (units.unit, points.u, loss, d, n))
        said = np.nan_to_num(np.stack([n, d, c, loss, points.u, units.unit], axis=1)[order], nan=-1.0)
        order = order[np.append(True, np.any(said[1:] != said[:-1], axis=1))] if len(order) else order
        k = None if compute.is_contradiction else compute.k
        return cls(n[order], d[order], c[order], loss[order], units.take(order), order, k, points.u[order])

    @classmethod
    def of_columns(cls, n: FloatArray, d: FloatArray, loss: FloatArray, units: Units | None = None) -> "Rows":
        """Rows in the order given, with C = 6 N D; by default every row is a unit of its own."""
        return cls(n, d, 6 * n * d, loss, units or separate_rows(n, d), np.arange(len(n)))

    def take(self, rows: IntArray) -> "Rows":
        """Some of the rows."""
        n, d, c, loss = (column[rows] for column in (self.n, self.d, self.c, self.loss))
        u = None if self.u is None else self.u[rows]
        return Rows(n, d, c, loss, self.units.take(rows), self.order[rows], self.k, u)

    def columns(self, symbols: Sequence[str]) -> list[FloatArray]:
        """The variables of a law, by N, D, C and U."""
        known = {"N": self.n, "D": self.d, "C": self.c, "U": self.d if self.u is None else self.u}
        return [known[symbol] for symbol in symbols]

    @property
    def largest_six(self) -> float | None:
        """The largest C as laws take it, 6 N D; None where C has no known unit."""
        return None if self.k is None else float(self.c.max()) * SIX / self.k

    def with_loss(self, loss: FloatArray) -> "Rows":
        """The same design with other losses."""
        return replace(self, loss=loss)
