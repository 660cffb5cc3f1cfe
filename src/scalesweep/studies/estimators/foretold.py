"""Losses that were forecast before they were measured: how many runs honest intervals hold, and how far forecasts are off.

Both are of the forecast cells themselves, as if each were run with ever more seeds: their law may err at all of them together,
so that few cells tell little of forecasts elsewhere. What is not known here is the noise of the seeds that were run.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from scalesweep.analysis.forecast.backtest import back_test
from scalesweep.analysis.forecast.bands import calibrate, look_ahead
from scalesweep.analysis.forecast.ray import NUM_ORIGINS
from scalesweep.analysis.forecast.rivals import THEORIES, fit_rivals
from scalesweep.arrays import FloatArray
from scalesweep.fit.horizon import Range
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.studies.base import CONFIDENCE, Effect, Rule
from scalesweep.studies.estimators.noise import LossNoise
from scalesweep.studies.estimators.theories import envelope
from scalesweep.studies.words import number_text

TESTED_DRAWS = 500
"""Resamples from which on honest intervals are as wide as a rolling origin of the points asks for, which costs 7 s on 34 rows.
With fewer, as simulated tables have, they are as wide as the prior of `bands` asks for."""
PERCENT = 100.0


def foretell(points: Points, n: FloatArray, d: FloatArray, rule: Rule) -> Mapping[str, Any]:
    """What `scalesweep forecast` says of the models with n parameters and d tokens, each of shape (cells,), JSON-ready.

    Raises:
        FitError: the points identify no joint law.
    """
    rivals = fit_rivals(Rows.of(points), rule.fit, THEORIES)
    outlook = look_ahead(rivals, Range.of(points.n, points.d), (n, d))
    is_tested = rule.draws >= TESTED_DRAWS
    test = back_test(points, rule.fit, max_origins=NUM_ORIGINS) if is_tested else None
    band = outlook.honest(test.factor if test else calibrate((), CONFIDENCE))
    columns = np.stack([n, d, *np.exp([outlook.centre, band.low, band.high])], axis=1)
    cells = [
        {**dict(zip(("n", "d", "loss", "low", "high"), row, strict=True)), "refused": refused}
        for row, refused in zip(columns.tolist(), outlook.refusals, strict=True)
    ]
    return {"cells": cells, "rows": len(points.n), "origins": len(test.cuts) if test else 0}


@dataclass(frozen=True, eq=False)
class Foretold:
    """Forecast cells that were measured; logarithms of losses, each of shape (cells,)."""

    n: FloatArray
    d: FloatArray
    c: FloatArray
    centre: FloatArray
    low: FloatArray
    high: FloatArray
    runs: Sequence[FloatArray]
    """Measured, of each cell."""
    refused: Sequence[str]
    """Why nothing was forecast of each further cell that was asked for."""

    @classmethod
    def of(cls, said: Mapping[str, Any], measured: Points) -> "Foretold":
        """The cells of `foretell` with the used rows of the same N and D."""
        used, kept, runs, c = measured.used, [], [], []
        for cell in said["cells"]:
            rows = used[np.isclose(used["n"], cell["n"]) & np.isclose(used["d"], cell["d"])]
            if not cell["refused"] and len(rows):
                kept.append([cell[name] for name in ("n", "d", "loss", "low", "high")])
                runs.append(np.log(rows["loss"].to_numpy(dtype=np.float64)))
                c.append(float(rows["c"].iloc[0]))
        n, d, loss, low, high = np.array(kept).reshape(-1, 5).T
        refused = [cell["refused"] for cell in said["cells"] if cell["refused"]]
        return cls(n, d, np.array(c), np.log(loss), np.log(low), np.log(high), runs, refused)

    @property
    def num_held(self) -> int:
        """Runs inside their intervals."""
        ends = zip(self.low, self.high, self.runs, strict=True)
        return sum(int(np.sum((low <= runs) & (runs <= high))) for low, high, runs in ends)

    def held(self, noise: LossNoise, rule: Rule) -> Effect:
        """Per cent of the runs of these cells, with ever more seeds, that lie in their intervals."""
        found = self._effect(lambda mean, sd: PERCENT * float(np.mean(self._share(mean, sd))), noise, rule)
        return (
            found
            if math.isnan(found.value)
            else _says(
                found,
                f"{self.num_held} of {self.num_runs} larger runs ended inside the intervals of their forecast",
            )
        )

    def error(self, noise: LossNoise, rule: Rule) -> Effect:
        """Median over the cells of |forecast / expected loss - 1|, in per cent."""
        found = self._effect(lambda mean, _: PERCENT * float(np.median(np.abs(np.expm1(self.centre - mean)))), noise, rule)
        return found if math.isnan(found.value) else _says(found, f"forecasts were off by {number_text(found)} % in the median")

    @property
    def num_runs(self) -> int:
        """All of them."""
        return sum(map(len, self.runs))

    def _share(self, mean: FloatArray, sd: float) -> FloatArray:
        return np.asarray(norm.cdf((self.high - mean) / sd) - norm.cdf((self.low - mean) / sd))

    def _effect(self, of: Callable[[FloatArray, float], float], noise: LossNoise, rule: Rule) -> Effect:
        """The number at the mean of each cell's runs, and under the errors of these means and of the noise."""
        if not self.runs:
            return Effect.missing(" ".join(dict.fromkeys(self.refused)) or "No forecast cell was measured.")
        rng = np.random.default_rng(rule.seed)
        mean, root = np.array([runs.mean() for runs in self.runs]), np.sqrt([len(runs) for runs in self.runs])
        sds = noise.sd * np.sqrt(noise.degrees / rng.chisquare(noise.degrees, rule.draws))
        drawn = np.array([of(mean + sd * rng.standard_normal(len(mean)) / root, sd) for sd in sds.tolist()])
        return envelope(of(mean, noise.sd), {"seeds": [drawn]})


def _says(effect: Effect, text: str) -> Effect:
    return Effect(effect.value, effect.low, effect.high, effect.withheld, text)
