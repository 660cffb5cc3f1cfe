"""What repeated tokens are worth: runs on a pool of U unique tokens beside runs on fresh ones, seed by seed.

A run of D tokens from a pool has the loss of a run of D' fresh ones of the same size; D' / D is the worth of its tokens. Near
the largest budget half of the noise would put D' beyond what was measured, where the inverse of a measured curve says nothing,
and what remained would be too low. So a worth w that several runs share is the one that best explains their distances from
fresh runs of the same size, budget and seed,

    ln L_pool - ln L_fresh = F_N(ln D + ln w) - F_N(ln D),

with F_N the smooth curve of the fresh runs of size N. Each distance has the noise of two runs, wherever D' lies.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student

from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.studies.base import CONFIDENCE, Arms, Effect

SMALL, LARGE = 0.25, 0.5
"""N / U up to which a model is small for its pool, and from which it is large: where repetition costs little, and much."""
_MOST_DEGREE = 2
"""Of a fresh curve in logs: a slope and its change, which three budgets determine."""
_ONE_SEED = "It was measured with one seed, which has no scatter."
_MAX_STEPS = 100
_LONGEST_STEP = 1.0
"""In ln w, so that no step leaves the curve's neighbourhood."""


@dataclass(frozen=True)
class FreshCurve:
    """ln L of fresh runs of one size against ln D: a parabola between the measured budgets, its tangents beyond them."""

    coefficients: FloatArray
    """Of powers of ln D minus its middle, highest first."""
    low: float
    """ln D of the smallest budget."""
    high: float
    """ln D of the largest."""

    @classmethod
    def of(cls, log_d: FloatArray, log_loss: FloatArray) -> "FreshCurve":
        """Least squares through runs of one size, shape (runs,) each, of at least two budgets."""
        low, high = float(log_d.min()), float(log_d.max())
        degree = min(_MOST_DEGREE, len(np.unique(log_d)) - 1)
        return cls(np.polyfit(log_d - (low + high) / 2, log_loss, degree), low, high)

    def slope(self, log_d: FloatArray) -> FloatArray:
        """D ln L / d ln D."""
        inside = np.clip(log_d, self.low, self.high) - (self.low + self.high) / 2
        return np.asarray(np.polyval(np.polyder(self.coefficients), inside))

    def is_near(self, log_d: FloatArray) -> bool:
        """Whether all are within a factor of two of the measured budgets, as far as a tangent is trusted."""
        return bool(((log_d >= self.low - math.log(2)) & (log_d <= self.high + math.log(2))).all())

    def log_loss(self, log_d: FloatArray) -> FloatArray:
        """Ln L."""
        inside = np.clip(log_d, self.low, self.high)
        value = np.polyval(self.coefficients, inside - (self.low + self.high) / 2)
        return np.asarray(value + self.slope(log_d) * (log_d - inside))


def tabulate(arms: Arms) -> pd.DataFrame:
    """The used rows of all arms, each once, with what the worth of repeated tokens is read off.

    Returns:
        Columns n, d, loss, seed, log_loss, weight_decay where there is one; `pool`, the unique tokens U that a run draws from;
        `decay`, the place of its weight decay among those of its size, 0 for the weakest (recipes scale weight decay by size,
        so that its value names no arm); `is_fresh`, whether no run of its pool saw a token twice.

    Raises:
        PointsError: a column is missing, or there are no fresh runs or no repeated ones.
    """
    frame = pd.concat([points.frame for points in arms.values()], ignore_index=True)
    frame = frame[frame["excluded_reason"] == ""]
    for name in ("seed", "unique_tokens"):
        if name not in frame or frame[name].isna().any():
            raise PointsError(
                f"Every run needs its {name}: the worth of repeated tokens is read seed by seed and pool by pool."
            )
    decay = frame.groupby("n")["weight_decay"].rank("dense").fillna(1).astype(int) - 1 if "weight_decay" in frame else 0
    table = frame[["n", "d", "loss", "seed"]].assign(pool=frame["unique_tokens"].astype(float), decay=decay)
    if "weight_decay" in frame:
        table["weight_decay"] = frame["weight_decay"]
    table = table.drop_duplicates(ignore_index=True)
    table["log_loss"] = np.log(table["loss"])
    repeated = table.loc[table["d"] > table["pool"] * (1 + 1e-9), "pool"].unique()
    table["is_fresh"] = ~table["pool"].isin(repeated)
    if table["is_fresh"].all():
        raise PointsError("No run saw a token twice: the study needs pools of fewer unique tokens than a run trains on.")
    if not table["is_fresh"].any():
        raise PointsError("Every pool was repeated: the study needs runs on fresh tokens to compare with.")
    return table


def pair(table: pd.DataFrame) -> pd.DataFrame:
    """Runs of pools beside the fresh run of equal size, budget, seed and weight decay.

    Returns:
        The rows of the pools that have one, with `fresh_loss`; `distance`, ln L_pool - ln L_fresh; `epochs`, D / U; `group` and
        `trunk`, numbers of each size and pool, and of each seed of them.

    Raises:
        PointsError: no run of a pool has one, or there are fewer than two seeds.
    """
    names = ["n", "d", "seed", "decay"]
    fresh = table[table["is_fresh"]].drop_duplicates(names)
    pairs = table[~table["is_fresh"]].merge(fresh[[*names, "loss"]].rename(columns={"loss": "fresh_loss"}), on=names)
    if pairs["seed"].nunique() < 2:
        raise PointsError("Repeated and fresh runs of equal size, budget and weight decay need at least two seeds in common.")
    return pairs.assign(
        distance=np.log(pairs["loss"] / pairs["fresh_loss"]),
        epochs=pairs["d"] / pairs["pool"],
        group=pairs.groupby(["decay", "n", "pool"]).ngroup(),
        trunk=pairs.groupby(["decay", "n", "pool", "seed"]).ngroup(),
    )


def has_epochs(pairs: pd.DataFrame, epochs: float) -> pd.Series:
    """Which rows have this number of epochs, as far as whole batches allow."""
    return (pairs["epochs"] / epochs - 1).abs() < 0.05


def is_large(rows: pd.DataFrame) -> pd.Series:
    """Which rows are of a model that is large for its pool."""
    return rows["n"] >= LARGE * rows["pool"]


def fresh_curves(table: pd.DataFrame) -> dict[float, FreshCurve]:
    """The curve of every size with fresh runs at two budgets or more, for the rows of one weight decay."""
    fresh = table[table["is_fresh"]]
    of_size = {float(rows["n"].iloc[0]): rows for _, rows in fresh.groupby("n") if rows["d"].nunique() > 1}
    return {n: FreshCurve.of(np.log(rows["d"].to_numpy()), rows["log_loss"].to_numpy()) for n, rows in of_size.items()}


def shared_worth(pairs: pd.DataFrame, curves: Mapping[float, FreshCurve], noise: float | None = None) -> Effect:
    """The worth of tokens that these pairs share, by least squares of their distances.

    A trunk, the runs of one size, pool and seed, is one observation; how trunks of one size and pool scatter, pooled over
    sizes and pools, gives the interval by Student's t. So it is of these sizes and pools, and luck is of seeds and of windows.

    Args:
        pairs: rows with n, d, `distance`, `group` and `trunk`.
        curves: of the fresh runs, by size.
        noise: standard deviation of log loss between seeds, where it is known better than by the few trunks of one size.
    """
    pairs = pairs[pairs["n"].isin(list(curves))]
    if pairs.empty:
        return Effect.missing("No pair of runs was measured there.")
    log_d, distance, sizes = np.log(pairs["d"].to_numpy()), pairs["distance"].to_numpy(), pairs["n"].to_numpy()
    of_size = [(curves[n], sizes == n) for n in np.unique(sizes)]

    def along(name: str, at: FloatArray) -> FloatArray:
        values = np.empty(len(at))
        for curve, rows in of_size:
            values[rows] = getattr(curve, name)(at[rows])
        return values

    if (along("slope", log_d) >= 0).any():
        return Effect.missing("The loss of fresh runs does not fall there, so no number of tokens stands for a loss.")
    start, log_w = along("log_loss", log_d), 0.0
    for _ in range(_MAX_STEPS):
        slope = along("slope", log_d + log_w)
        residual = distance - (along("log_loss", log_d + log_w) - start)
        step = float(np.clip((slope @ residual) / (slope @ slope), -_LONGEST_STEP, _LONGEST_STEP))
        log_w += step
        if abs(step) < 1e-10:
            break
    if not all(curve.is_near(log_d[rows] + log_w) for curve, rows in of_size):
        return Effect.missing("The loss is far outside that of fresh runs, so no number of tokens stands for it.")
    _, first, trunk = np.unique(pairs["trunk"].to_numpy(), return_index=True, return_inverse=True)
    group = np.unique(pairs["group"].to_numpy()[first], return_inverse=True)[1]
    score, weight = np.bincount(trunk, slope * residual), np.bincount(trunk, slope**2)
    mean = np.bincount(group, score) / np.bincount(group, weight)
    spare = len(score) - len(mean)
    if noise is not None:
        half = quantile(math.inf) * noise * math.sqrt(2 / float(weight.sum()))
        return Effect(math.exp(log_w), math.exp(log_w - half), math.exp(log_w + half))
    if spare < 1:
        return Effect(math.exp(log_w), math.nan, math.nan, _ONE_SEED)
    variance = float(((score - weight * mean[group]) ** 2 / weight).sum()) / spare / float(weight.sum())
    half = quantile(spare) * math.sqrt(variance)
    return Effect(math.exp(log_w), math.exp(log_w - half), math.exp(log_w + half))


@dataclass(frozen=True)
class Mean:
    """Mean over groups of the means of their seeds, with its variance by the scatter of seeds pooled over groups."""

    value: float
    variance: float
    spare: int
    """Degrees of freedom."""

    @classmethod
    def of(cls, values: pd.Series, groups: pd.Series) -> "Mean":
        """Of one value a trunk; without a group of two trunks the variance is NaN."""
        grouped = values.groupby(groups.to_numpy())
        count, spare = grouped.size(), len(values) - grouped.ngroups
        scatter = float(((values - grouped.transform("mean")) ** 2).sum()) / spare if spare else math.nan
        return cls(float(grouped.mean().mean()), scatter * float((1 / count).sum()) / len(count) ** 2, spare)

    def effect(self) -> Effect:
        """With the interval by Student's t."""
        if not self.spare:
            return Effect(self.value, math.nan, math.nan, _ONE_SEED)
        half = quantile(self.spare) * math.sqrt(self.variance)
        return Effect(self.value, self.value - half, self.value + half)


def ratio(over: Mean, under: Mean) -> Effect:
    """Ratio of two independent means, with the interval of Fieller (1954, J. R. Stat. Soc. B 16, 175)."""
    if not (over.spare and under.spare):
        return Effect.missing(_ONE_SEED)
    square = quantile(min(over.spare, under.spare)) ** 2
    a = under.value**2 - square * under.variance
    if under.value <= 0 or a <= 0:
        return Effect.missing("The excess over fresh data is within the noise, so no share of it can be told.")
    b, c = over.value * under.value, over.value**2 - square * over.variance
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Effect(over.value / under.value, (b - root) / a, (b + root) / a)


def quantile(spare: float) -> float:
    """Half-width of an interval in standard errors by Student's t."""
    return float(student.ppf((1 + CONFIDENCE) / 2, spare))
