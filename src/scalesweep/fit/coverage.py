"""How often intervals hold the truth: sweeps of one design are simulated from a known law, fitted, and counted.

The noise is what intervals are most often wrong about, so each kind is simulated: independent, shared by the points of a model
size, heavy-tailed. Called by `scalesweep coverage`; `coverage` takes the truth from the fit of the user's own points.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.fit.estimates import percentile_union
from scalesweep.fit.forms import fit_form
from scalesweep.fit.intervals import resample
from scalesweep.fit.pose import Posed
from scalesweep.fit.profiles import profile_estimates
from scalesweep.fit.solve.huber import Solution
from scalesweep.fit.solve.objectives import Objective, robust_scale
from scalesweep.laws import Chinchilla, JointLaw, Law
from scalesweep.points.clusters import Units, group_rows, separate_rows
from scalesweep.points.design import refuse_joint
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec

Method = Literal["auto", "pairs", "cluster", "profile"]
METHODS: tuple[Method, ...] = ("auto", "pairs", "cluster", "profile")
QUANTITIES = ("alpha", "beta", "E", "loss_10x")
"""`loss_10x` is the loss of the compute-optimal model at ten times the largest C."""
Ends = tuple[float | None, float | None]
_NO_INTERVAL: Ends = (None, None)
_MAX_SEED = 2**31


@dataclass(frozen=True)
class NoiseModel:
    """How a simulated log loss differs from the law."""

    name: str
    """What it is called in the table."""
    sd: float
    """Standard deviation of log loss; of the undisturbed points with `outliers`."""
    size_share: float = 0.0
    """Share of the variance that all points of one model size have in common (intraclass correlation)."""
    tails: Literal["normal", "t3", "outliers"] = "normal"
    """What is not shared: normal, Student's t with 3 degrees of freedom, or normal with 1 in 20 points ten times as far."""

    def draw(self, sizes: NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
        """Differences of log loss, for the labels of the points' sizes, both of shape (rows,)."""
        shared = rng.standard_normal(int(sizes.max()) + 1)[sizes]
        own = rng.standard_normal(len(sizes))
        if self.tails == "t3":
            own = rng.standard_t(3, len(sizes)) / math.sqrt(3)
        elif self.tails == "outliers":
            own = own * np.where(rng.random(len(sizes)) < 0.05, 10.0, 1.0)
        return np.asarray(self.sd * (math.sqrt(self.size_share) * shared + math.sqrt(1 - self.size_share) * own))


@dataclass(frozen=True)
class Coverage:
    """How one kind of interval fared for one quantity under one noise."""

    noise: str
    """Name of the noise model."""
    method: Method
    """`fit.interval`."""
    quantity: str
    """One of `QUANTITIES`."""
    covered: float
    """Share of the simulated sweeps whose interval held the truth."""
    width: float
    """Median width of the interval relative to the truth."""


@dataclass(frozen=True)
class CoverageTable:
    """Coverage of every interval under every noise."""

    rows: tuple[Coverage, ...]
    """One for each noise, method and quantity."""
    law: str
    """The law that the sweeps were drawn from."""
    confidence: float
    """Nominal coverage."""
    replicates: int
    """Simulated sweeps for each noise."""
    bootstrap: int
    """Resamples for each interval."""
    num_points: int
    """Points of the design."""
    num_sizes: int
    """Model sizes of the design."""
    noises: tuple[NoiseModel, ...]
    """What was simulated."""
    seed: int
    """Seed of the simulation."""

    @property
    def standard_error(self) -> float:
        """Binomial standard error of a share, if the intervals cover as often as they say."""
        return math.sqrt(self.confidence * (1 - self.confidence) / self.replicates)

    def covered(self, noise: str, method: Method, quantity: str) -> float:
        """Share of sweeps covered.

        Raises:
            KeyError: the table has no such row.
        """
        for row in self.rows:
            if (row.noise, row.method, row.quantity) == (noise, method, quantity):
                return row.covered
        raise KeyError((noise, method, quantity))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return asdict(self)


def standard_noises(sd: float) -> tuple[NoiseModel, ...]:
    """Independent, shared by size (intraclass correlation .64) and heavy-tailed noise, each of standard deviation `sd`."""
    return (
        NoiseModel("independent", sd),
        NoiseModel("by size", sd, size_share=0.64),
        NoiseModel("heavy tails", sd, tails="t3"),
    )


def coverage(points: Points, spec: FitSpec, replicates: int = 100) -> CoverageTable:
    """Coverage of the intervals in simulated sweeps of the design of `points`, for `standard_noises`.

    The truth is the additive law fitted to the points, the noise has the robust standard deviation of their residuals. Points
    of one run are drawn together for the intervals, but simulated with no more common noise than other points of their size,
    because how much they share is not known.

    Raises:
        FitError: the design cannot identify the law, or the points lie on it exactly.
    """
    rows = Rows.of(points)
    if refusal := refuse_joint(rows.n, rows.d):
        raise FitError(f"{points.source}: {refusal}")
    found = fit_form(Chinchilla, {"N": rows.n, "D": rows.d}, rows.loss, objective=Objective("huber", spec.huber_delta))
    assert isinstance(found.law, JointLaw)
    sd = robust_scale(found.residuals, found.num_free)
    if sd < 1e-12:
        raise FitError(f"{points.source}: the points lie on the law exactly, so there is no noise to simulate.")
    return simulate_coverage(
        points.n, points.d, found.law, standard_noises(sd), spec, replicates, units=group_rows(points.used)
    )


def simulate_coverage(
    n: FloatArray,
    d: FloatArray,
    law: JointLaw,
    noises: Sequence[NoiseModel],
    spec: FitSpec,
    replicates: int,
    *,
    methods: Sequence[Method] = METHODS,
    units: Units | None = None,
) -> CoverageTable:
    """Draw sweeps from a law, fit the form of the law to each and count how often each interval holds the truth.

    Args:
        n: parameters of the design, shape (rows,).
        d: training tokens, shape (rows,).
        law: the truth, additive or coupled.
        noises: kinds of noise.
        spec: resamples, confidence, Huber width and seed; `spec.interval` is ignored for `methods`.
        replicates: sweeps for each noise.
        methods: intervals to count.
        units: which rows the intervals resample together; by default every row is its own.
    """
    units = separate_rows(n, d) if units is None else units
    study = _Study(n, d, law, spec, tuple(methods), units, forecast_target(law, n, d))
    truth = quantities([law], study.target)[0]
    rows: list[Coverage] = []
    for index, noise in enumerate(noises):
        streams = (np.random.default_rng([spec.seed, index, replicate]) for replicate in range(replicates))
        ends = np.array([study.ends(noise, rng) for rng in streams])
        rows += _count(noise.name, methods, ends, truth)
    return CoverageTable(
        rows=tuple(rows),
        law=law.formula(),
        confidence=spec.confidence,
        replicates=replicates,
        bootstrap=spec.bootstrap,
        num_points=len(n),
        num_sizes=units.num_clusters,
        noises=tuple(noises),
        seed=spec.seed,
    )


@dataclass(frozen=True, eq=False)
class _Study:
    """What all simulated sweeps have in common."""

    n: FloatArray
    d: FloatArray
    law: JointLaw
    spec: FitSpec
    methods: tuple[Method, ...]
    units: Units
    target: tuple[float, float]
    """(N, D) of the forecast."""

    def ends(self, noise: NoiseModel, rng: np.random.Generator) -> FloatArray:
        """Ends of the intervals of one simulated sweep, shape (methods, quantities, 2); NaN where there is none."""
        loss = self.law.predict(self.n, self.d) * np.exp(noise.draw(self.units.cluster, rng))
        spec = self.spec.model_copy(update={"seed": int(rng.integers(_MAX_SEED))})
        posed = Posed.of_rows(type(self.law), Rows.of_columns(self.n, self.d, loss, self.units))
        descent = posed.descend(Objective("huber", spec.huber_delta))
        assert descent.delta is not None  # of a Huber loss
        found = {}
        for method in set(self.methods) - {"profile"}:
            scheme = spec.model_copy(update={"interval": method})
            alone = resample(posed.problem, descent.minima.theta, descent.delta, scheme, self.units)
            found[method] = self._percentiles(posed, [alone.first, alone.second])
        if "profile" in self.methods:
            profiled = profile_estimates(posed, descent, self.units.num_units, spec.confidence)
            found["profile"] = {name: (one.low, one.high) for name, one in profiled.items()}
        return np.array(
            [[found[method].get(name, _NO_INTERVAL) for name in QUANTITIES] for method in self.methods], dtype=float
        )

    def _percentiles(self, posed: Posed, parts: list[Solution]) -> dict[str, Ends]:
        """Union of the percentile intervals of the parts, by quantity."""
        sets = [quantities(posed.laws(part.theta), self.target) for part in parts if len(part.value)]
        low, high = percentile_union(sets, self.spec.confidence)
        return {name: (float(low[i]), float(high[i])) for i, name in enumerate(QUANTITIES)}


def forecast_target(law: JointLaw, n: FloatArray, d: FloatArray) -> tuple[float, float]:
    """(N, D) that the law finds compute-optimal at ten times the largest C = 6 N D."""
    c = 10 * float(np.max(6 * n * d))
    return float(law.n_opt(c)), float(law.d_opt(c))


def quantities(laws: Sequence[Law], target: tuple[float, float]) -> FloatArray:
    """`QUANTITIES` of each law, the forecast at `target` = (N, D), shape (laws, quantities)."""
    joint = [law for law in laws if isinstance(law, JointLaw)]
    return np.array([(law.alpha, law.beta, law.E, float(law.predict(*target))) for law in joint])


def _count(noise: str, methods: Sequence[Method], ends: FloatArray, truth: FloatArray) -> list[Coverage]:
    """Rows of the table from ends of shape (replicates, methods, quantities, 2)."""
    low, high = ends[..., 0], ends[..., 1]
    covered = np.asarray(np.mean((low <= truth) & (truth <= high), axis=0))
    width = np.asarray(np.median(high - low, axis=0) / truth)
    known = np.asarray(~np.isnan(low).all(axis=0))
    return [
        Coverage(noise, method, name, float(covered[m, q]), float(width[m, q]))
        for m, method in enumerate(methods)
        for q, name in enumerate(QUANTITIES)
        if known[m, q]
    ]
