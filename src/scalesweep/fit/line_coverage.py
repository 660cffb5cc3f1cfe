"""How often the intervals of the laws of one variable hold the truth, by design: the second table of docs/coverage.md."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.errors import Refused
from scalesweep.fit.forms import fit_law
from scalesweep.fit.laws import fit_variable
from scalesweep.fit.results import Fit, Status
from scalesweep.fit.selection import select_rows
from scalesweep.laws import Chinchilla, Variable
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec


@dataclass(frozen=True, eq=False)
class LineDesign:
    """Cells whose law of one variable is fitted."""

    name: str
    """What it is called in the table."""
    variable: Variable
    n: FloatArray
    """Parameters, shape (cells,)."""
    d: FloatArray
    """Training tokens, shape (cells,)."""

    def truth_beyond(self, law: Chinchilla) -> tuple[float, float]:
        """Twice the largest value of the variable, and the law's loss there, on the path of the design."""
        n, d = float(self.n.max()), float(self.d.max())
        if self.variable == "N":
            return 2 * n, float(law.predict(2 * n, d))
        if self.variable == "D":
            return 2 * d, float(law.predict(n, 2 * d))
        c = 12 * float(np.max(self.n * self.d))
        if isinstance(select_rows(Rows.of_columns(self.n, self.d, self.n), "C"), Refused):
            return c, float(law.predict(law.n_opt(c), law.d_opt(c)))
        return c, float(law.predict(n * np.sqrt(2), d * np.sqrt(2)))


@dataclass(frozen=True)
class LineCoverage:
    """How the intervals fared in simulated sweeps of one design."""

    design: str
    seeds: int
    """Runs of each cell."""
    sd: float
    """Standard deviation of the log loss of one run."""
    exponent: float
    """Share of the intervals of the line's exponent that held that of the same line without noise."""
    band: float
    """Share of the bands that held the true loss at twice the largest value."""
    width: float
    """Median width of that band relative to the truth."""
    withheld: float
    """Share of sweeps whose law was refused, which enter none of the others."""


def simulate_line(design: LineDesign, law: Chinchilla, seeds: int, sd: float, spec: FitSpec, replicates: int) -> LineCoverage:
    """Draw sweeps of a design from a law with independent normal noise of log loss, and count what the intervals hold."""
    n, d = np.repeat(design.n, seeds), np.repeat(design.d, seeds)
    losses, rng = law.predict(n, d), np.random.default_rng([spec.seed, len(n), seeds, int(1e6 * sd)])
    exact = _fit(design.variable, n, d, losses, spec.model_copy(update={"bootstrap": 0}))
    if isinstance(exact, Refused):
        raise ValueError(f"{design.name}: {exact}")
    slope = exact.estimates["exponent"].value
    x, truth = design.truth_beyond(law)
    held, inside, widths = [], [], []
    for replicate in range(replicates):
        # Each sweep has its own draws: shared ones would share their error.
        own = spec.model_copy(update={"seed": spec.seed + replicate})
        found = _fit(design.variable, n, d, losses * np.exp(sd * rng.standard_normal(len(n))), own)
        if (
            isinstance(found, Refused)
            or (band := found.band(x)) is None
            or (ends := found.estimates["exponent"].interval) is None
        ):
            continue
        held.append(ends.holds(slope))
        inside.append(float(band[0]) <= truth <= float(band[1]))
        widths.append(float(band[1] - band[0]) / truth)
    return LineCoverage(
        design=design.name,
        seeds=seeds,
        sd=sd,
        exponent=float(np.mean(held)),
        band=float(np.mean(inside)),
        width=float(np.median(widths)),
        withheld=1 - len(held) / replicates,
    )


def claimed_trends(num: int, sd: float, spec: FitSpec, replicates: int) -> float:
    """Share of rays of pure noise, with so many runs, whose exponent is claimed to be above zero."""
    rng, n = np.random.default_rng(spec.seed), np.geomspace(1e7, 1e9, num)
    fits = [_fit("C", n, 20 * n, 3 * np.exp(sd * rng.standard_normal(num)), spec) for _ in range(replicates)]
    return float(np.mean([not isinstance(fit, Refused) and fit.status is not Status.NO_TREND for fit in fits]))


def reference_designs(sizes: Sequence[float], ratios: Sequence[float]) -> tuple[LineDesign, ...]:
    """Rays of 20, 8 and 5 runs, a grid over sizes and tokens per parameter, isoFLOP budgets, L(N) at one D, L(D) at one N."""
    rays = [LineDesign(f"ray, {num} runs", "C", size := np.geomspace(1e7, 1e9, num), 20 * size) for num in (20, 8, 5)]
    n, ratio = (axis.ravel() for axis in np.meshgrid(sizes, ratios))
    c = np.repeat(np.geomspace(1e17, 1e19, 5), 7)
    iso = np.sqrt(c / 120) * np.tile(np.geomspace(0.25, 4, 7), 5)
    x, y = (axis.ravel() for axis in np.meshgrid(sizes, np.geomspace(1e8, 1e10, 5)))
    return (
        *rays,
        LineDesign("grid, L(C)", "C", n, n * ratio),
        LineDesign("isoFLOP, L(C)", "C", iso, c / 6 / iso),
        LineDesign("L(N), 6 sizes", "N", x, y),
        LineDesign("L(D), 5 budgets", "D", x, y),
    )


def _fit(variable: Variable, n: FloatArray, d: FloatArray, loss: FloatArray, spec: FitSpec) -> Fit | Refused:
    rows = Rows.of_columns(n, d, loss)
    joint = (
        fit_law(Chinchilla, rows, spec) if isinstance(select_rows(rows, variable), Refused) else Refused("It is not needed.")
    )
    return fit_variable(rows, variable, joint, spec)[0]
