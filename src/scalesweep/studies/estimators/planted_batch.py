"""Simulated tables of runs at several batches and rates, of which the critical batch is known."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy.optimize import brentq, root_scalar

from scalesweep.arrays import FloatArray
from scalesweep.points.points import Points
from scalesweep.studies.base import Arms, with_losses
from scalesweep.studies.estimators.best_losses import BestLosses
from scalesweep.studies.estimators.critical_batch import Size, common_place, fewest_tokens, fit_hyperbola, levels_of
from scalesweep.studies.estimators.planted import LAW

CRITICAL, TOKENS = 7.5e3, 2.5e5
"""B_crit in tokens, and the E_min it belongs to, near what 14k parameters show at 3.9 nats (docs/studies/batch.md)."""
EXPONENT = 0.47
"""Of B_crit in E_min: Zhang et al. 2024 (arXiv 2410.21676)."""
_CURVATURE = 0.03
"""d^2 ln L / d ln(rate)^2: half or twice the best rate costs .7 % of the loss (docs/studies/batch.md)."""
_BEST = 1.2
"""The best rate over the middle one of those tried."""
_MOST_BENT = 0.7
"""Log of tokens beyond which three batches of the quick grid may have no loss in common; hyperbolas then miss by .52."""


@dataclass(frozen=True)
class Truth:
    """ln B_crit = ln `critical` + `exponent` ln(E_min / `tokens`), the same at every size but for what is said of a size."""

    critical: float = CRITICAL
    exponent: float = EXPONENT
    tokens: Mapping[float, float] = field(default_factory=dict)
    """N -> E_min at which its critical batch is `critical`; `TOKENS` where nothing is said."""
    factor: Mapping[float, float] = field(default_factory=dict)
    """N -> factor on its critical batch."""
    bend: Mapping[float, float] = field(default_factory=dict)
    """Batch -> log of the tokens that it takes beyond the hyperbola."""

    def log_critical(self, n: float, log_tokens: float) -> float:
        """Logarithm of B_crit of a size at a logarithm of E_min."""
        log_scale = math.log(self.critical * self.factor.get(n, 1.0))
        return log_scale + self.exponent * (log_tokens - math.log(self.tokens.get(n, TOKENS)))

    def log_loss(self, n: FloatArray, batch: FloatArray, d: FloatArray) -> FloatArray:
        """Logarithms of the loss at the best rate by the coupled law of `planted`, of the shape of the arguments."""
        factor, tokens, bend = (
            np.array([table.get(float(one), default) for one in of])
            for table, of, default in ((self.factor, n, 1.0), (self.tokens, n, TOKENS), (self.bend, batch, 0.0))
        )
        log_e = fewest_tokens(d * np.exp(-bend), batch, np.log(self.critical * factor), self.exponent, np.log(tokens))
        return np.asarray(np.log(LAW.predict(n, np.exp(log_e))))

    def cells(self, frame: pd.DataFrame) -> list[BestLosses]:
        """The losses of the sizes, batches and budgets of these rows without noise, at their best rates."""
        found = []
        places = np.unique(frame[["n", "batch_tokens", "d"]].to_numpy(dtype=np.float64), axis=0)
        for n in np.unique(places[:, 0]):
            _, batch, d = places[places[:, 0] == n].T
            ones = np.ones(len(d))
            log_loss = self.log_loss(float(n) * ones, batch, d)
            found.append(BestLosses(float(n), batch, d, log_loss, ones, ones > 0, math.nan * ones))
        return found

    def sizes(self, frame: pd.DataFrame) -> list[Size]:
        """What is read off them."""
        return [Size.of(cells) for cells in self.cells(frame)]


def planted(arms: Arms, truth: Truth, noise: float, rng: np.random.Generator) -> Arms:
    """The rows of every arm with these losses, a response to the rate, and log-normal noise."""
    best = _best_rates(arms)
    found: dict[str, Points] = {}
    for name, points in arms.items():
        frame = points.frame
        n, batch, d = (frame[column].to_numpy(dtype=np.float64) for column in ("n", "batch_tokens", "d"))
        exact = truth.log_loss(n, batch, d)
        if "lr" in frame:
            middle = np.array([best[place] for place in zip(n, batch, strict=True)])
            exact = exact + _CURVATURE / 2 * (np.log(frame["lr"].to_numpy(dtype=np.float64)) - middle) ** 2
        found[name] = with_losses(points, np.exp(exact + noise * rng.standard_normal(len(frame))))
    return found


def with_misfit(frame: pd.DataFrame, misfit: float) -> Truth:
    """Tokens at every other batch more, and at the others fewer, than a hyperbola has, so that it misses them by `misfit`.

    Raises:
        ValueError: more than the .5 that such a table can have.
    """
    batches = sorted(float(one) for one in frame["batch_tokens"].unique())

    def bent(by: float) -> Truth:
        return Truth(bend={batch: by * (-1) ** i for i, batch in enumerate(batches)})

    def beyond(by: float) -> float:
        levels = [(cells, float(loss)) for cells in bent(by).cells(frame) for loss in levels_of(cells)]
        left = [one.misfit for place in levels if (one := fit_hyperbola(*place)) is not None]
        return math.sqrt(float(np.mean(np.concatenate(left) ** 2))) - misfit

    return bent(float(brentq(beyond, 0.0, _MOST_BENT, xtol=1e-4)) if misfit else 0.0)


def with_ratio(frame: pd.DataFrame, ratio: float) -> Truth:
    """B_crit as a power of E_min that is so many times as large at the lowest of three losses as at the highest."""

    def log_ratio(power: float) -> float:
        truth, found = Truth(exponent=power), []
        for size in truth.sizes(frame):
            ends = [truth.log_critical(size.n, size.curve.log_tokens(float(size.levels[i]))) for i in (-1, 0)]
            found.append(ends[0] - ends[1])
        return float(np.mean(found))

    found = root_scalar(lambda power: log_ratio(power) - math.log(ratio), x0=0.0, x1=EXPONENT, xtol=1e-4)
    return Truth(exponent=float(found.root))


def apart_at_loss(frame: pd.DataFrame, factor: float) -> Truth:
    """The smallest size has `factor` times the critical batch of the largest, at a loss that both have in the middle."""
    truth = Truth()
    for _ in range(3):  # the loss in the middle moves little with the truth
        sizes = truth.sizes(frame)
        loss = common_place(sizes[0], sizes[-1], at_data=False)
        if loss is None:
            break
        tokens = {size.n: math.exp(size.curve.log_tokens(loss)) for size in sizes}
        truth = replace(truth, tokens=tokens, factor={sizes[-1].n: 1 / factor})
    return truth


def apart_at_data(frame: pd.DataFrame, factor: float) -> Truth:
    """The same at every E_min."""
    return Truth(factor={float(frame["n"].max()): 1 / factor})


def _best_rates(arms: Arms) -> dict[tuple[float, float], float]:
    """Logarithm of the best rate of each size and batch."""
    rates: dict[tuple[float, float], set[float]] = {}
    for points in arms.values():
        if "lr" in points.frame:
            for n, batch, lr in points.frame[["n", "batch_tokens", "lr"]].itertuples(index=False):
                rates.setdefault((float(n), float(batch)), set()).add(float(lr))
    return {place: float(np.mean(np.log(sorted(tried)))) + math.log(_BEST) for place, tried in rates.items()}
