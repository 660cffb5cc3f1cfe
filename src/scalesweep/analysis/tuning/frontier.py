"""What tuning finds: the optimum of a size and budget, and the frontier that these make."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from scalesweep.analysis.tuning.lowest import LowestLoss
from scalesweep.analysis.tuning.noise import UNKNOWN, TuningNoise
from scalesweep.analysis.tuning.quantity import LR, quantity
from scalesweep.analysis.tuning.response import Surface
from scalesweep.errors import Refused
from scalesweep.points.points import Points, points_from_rows
from scalesweep.settings.tune import Side, value_at

TUNE, AXIS = "tune.", "axis."
"""Prefixes of the columns that hold tuned settings and axes, see `Plan.columns`."""
IDLE = 0.5
"""Level above which one with an inner minimum is flat: lower would hide weak effects, higher fit the noise (docs/tuning.md)."""


@dataclass(frozen=True)
class Edge:
    """An optimum at the end of what was tried at N parameters and D tokens."""

    n: float
    d: float
    setting: str
    """Dotted setting."""
    side: Side
    """Which end, in the coordinate of `settings.tune.coordinate`."""
    value: float
    """The last value tried there."""


@dataclass(frozen=True)
class Gap:
    """Values of a setting between which the optimum at N parameters and D tokens lies, and where finer ones are wanted."""

    n: float
    d: float
    setting: str
    """Dotted setting."""
    low: float
    """The smaller of the values next to the best one, in the coordinate of `settings.tune.coordinate`."""
    high: float
    best: float


@dataclass(frozen=True, eq=False)
class TunedOptimum:
    """The optimum of the tuned settings at N parameters and D tokens: what the quadratic around it says."""

    n: float
    d: float
    surface: Surface
    settings: tuple[str, ...]
    """The settings that are its axes; those left out make no difference that the noise lets one see."""
    far: Mapping[str, tuple[float, float]] = field(default_factory=dict, repr=False)
    """`half`, `double` -> residual of the measured losses from the quadratic, its variance for noise of variance 1."""
    other: Surface | None = field(default=None, repr=False)
    """The quadratic with the settings that were left out, or without those of which the losses do not clearly say that they
    matter; None where neither is in doubt, or such a quadratic has no inner minimum."""
    noise: TuningNoise = UNKNOWN
    """That of a measured loss, pooled over the sweep."""

    @property
    def values(self) -> dict[str, float]:
        """Setting -> its best value."""
        return {name: value_at(name, float(x)) for name, x in zip(self.settings, self.surface.x, strict=True)}

    @property
    def value_ses(self) -> dict[str, float]:
        """Setting -> standard error of its coordinate (of log value)."""
        errors = self._sigma * np.sqrt(np.diag(self.surface.x_covariance))
        return dict(zip(self.settings, errors.tolist(), strict=True))

    @property
    def loss(self) -> float:
        """Loss at the optimum in nats per token, corrected where the noise is known."""
        sigma = self.noise.sigma
        return self.surface.y if math.isnan(sigma) else self.surface.value(self.noise.between)

    @property
    def loss_se(self) -> float:
        """Its standard error in nats per token, NaN where the noise is not known.

        Where it is in doubt whether a setting matters, what the loss would be by the other choice is one standard error off.
        """
        choice = 0.0 if self.other is None else self.other.value(self.noise.between) - self.loss
        return math.hypot(self.surface.error(self._sigma), choice)

    @property
    def _sigma(self) -> float:
        """The noise, widened so that 1.645 standard errors are the interval of Student's t."""
        return self.noise.sigma * self.noise.student

    @property
    def curvature(self) -> float:
        """Second derivative of the loss by the log of the first setting (the learning rate, if it is tuned)."""
        return float(self.surface.hessian[0, 0])

    def regret(self, factor: str) -> tuple[float, float]:
        """What half or double the optimal learning rate costs, in nats, and its standard error; NaN where it was not tuned."""
        if not any(quantity(name) == LR for name in self.settings[:1]):
            return math.nan, math.nan
        square = math.log(2) ** 2
        residual, variance = self.far.get(factor, (0.0, 0.0))
        spread = self.surface.hessian_variance[0] * square**2 / 4 + variance
        return self.curvature * square / 2 + residual, self._sigma * math.sqrt(spread)


@dataclass(frozen=True, eq=False)
class TunedGroup:
    """The settings tried at one size, budget and seed, and the optimum that they show."""

    row: Mapping[str, Any]
    """The row of the best measured setting, for the columns that tuning does not touch."""
    n: float
    d: float
    num_settings: int
    """Settings measured, diverged ones among them."""
    num_diverged: int
    lowest: float
    """Lowest measured loss: what a naive frontier takes. NaN where all diverged."""
    optimum: TunedOptimum | LowestLoss | Refused
    """The vertex of a quadratic that can be trusted; else the lowest loss, if it lies inside what was tried."""
    edges: tuple[Edge, ...] = ()
    """Ends of ranges at which the optimum lies; such a one is refused."""
    gaps: tuple[Gap, ...] = ()
    """Where finer values are wanted, because no quadratic can be trusted."""

    def point(self) -> dict[str, Any]:
        """A row of the table of points."""
        kept = {name: value for name, value in self.row.items() if not str(name).startswith(TUNE)}
        optimum = None if isinstance(self.optimum, Refused) else self.optimum
        (half, half_se), (double, double_se) = (
            optimum.regret(factor) if optimum else (math.nan, math.nan) for factor in ("half", "double")
        )
        return {
            **kept,
            "d": self.d,
            "c": float(self.row["c"]) * self.d / float(self.row["d"]),
            "loss": optimum.loss if optimum else self.lowest,
            "loss_se": None if optimum is None or math.isnan(optimum.loss_se) else optimum.loss_se,
            "lowest_loss": self.lowest,
            "loss_from": "" if optimum is None else "lowest" if isinstance(optimum, LowestLoss) else "vertex",
            "num_settings": self.num_settings,
            "num_diverged": self.num_diverged,
            **{f"best.{name}": value for name, value in (optimum.values if optimum else {}).items()},
            **{f"best_log_se.{name}": error for name, error in (optimum.value_ses if optimum else {}).items()},
            "regret_half_lr": half,
            "regret_half_lr_se": half_se,
            "regret_double_lr": double,
            "regret_double_lr_se": double_se,
            "excluded_reason": self.optimum.reason if isinstance(self.optimum, Refused) else "",
        }


@dataclass(frozen=True, eq=False)
class Frontier:
    """The tuned frontier of a sweep."""

    groups: tuple[TunedGroup, ...]
    """One a size, budget and seed, by increasing N and D."""
    settings: tuple[str, ...]
    """Tuned settings, the learning rate first."""
    noise: TuningNoise
    """That of a measured loss, pooled over the quadratics that stand."""
    measured: Points
    """The points that it was made from."""

    @property
    def optima(self) -> tuple[TunedOptimum | LowestLoss, ...]:
        """Those that lie inside what was tried."""
        return tuple(group.optimum for group in self.groups if not isinstance(group.optimum, Refused))

    @property
    def vertices(self) -> tuple[TunedOptimum, ...]:
        """Those that are the vertex of a quadratic."""
        return tuple(optimum for optimum in self.optima if isinstance(optimum, TunedOptimum))

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Ends at which optima lie."""
        return tuple(edge for group in self.groups for edge in group.edges)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Where finer values are wanted."""
        return tuple(gap for group in self.groups for gap in group.gaps)

    @property
    def points(self) -> Points:
        """The frontier as a table of points; an optimum that is not inside carries an `excluded_reason`."""
        points = points_from_rows(
            [group.point() for group in self.groups],
            self.measured.params_convention,
            self.measured.flops_convention,
            self.measured.source,
        )
        note = (
            f"Each point is the tuned optimum over {', '.join(self.settings)} of one size, budget and seed: "
            f"{len(self.groups)} points from {len(self.measured.frame)} measured cells."
        )
        measured = self.measured
        notes = (*measured.notes, note)
        return replace(points, notes=notes, curves=measured.curves, metric=measured.metric, derived=measured.derived)
