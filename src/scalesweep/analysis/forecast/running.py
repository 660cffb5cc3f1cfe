"""The final loss of a run that is still training, from how the finished runs of its table went on from the same share.

    log L(end) = log L(x) + g,   x the share of the planned run that is done

g is what the finished runs gained between x and their ends: their mean, or a line in log N where that predicts them better when
each is left out. Runs of one schedule go alike once their progress is measured in shares of the run (Qiu et al. 2025, arXiv
2507.02119, for normalised losses). The interval is Student's t, of one new run; how far off each finished run is when the
others predict it is reported beside it.
"""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.errors import Refused
from scalesweep.fit.estimates import Estimate
from scalesweep.interval import Interval
from scalesweep.points.curves import DONE, Curves

if TYPE_CHECKING:
    import pandas as pd

MIN_FINISHED = 3
"""Finished runs that a forecast needs: two leave one degree of freedom, where Student's t at 90 % is 6.3."""
MIN_FOR_LINE = 6
"""Finished runs from which the gain may depend on N: fewer leave less than four degrees of freedom beside a line."""


@dataclass(frozen=True)
class RunForecast:
    """Where a running run's loss ends, if it goes on as the finished runs did."""

    run: str
    n: float
    """Its parameters; NaN where the table does not say."""
    share: float
    """Of its planned tokens or steps that is done."""
    now: float
    """Its last loss."""
    loss: Estimate
    """Its final loss, with the interval of one run."""
    error: float
    """Root mean square error of log L for finished runs, each predicted from the others at that share."""
    num_finished: int
    """Runs that it rests on."""
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return asdict(self) | {"loss": self.loss.to_dict(), "n": self.n if math.isfinite(self.n) else None}


def forecast_running(curves: Curves, confidence: float = 0.90) -> dict[str, RunForecast | Refused]:
    """The final loss of every run that has not reached its end, or why it cannot be told, by the run's name."""
    parts = [part for _, part in curves.frame.groupby("run", sort=True)]
    unfinished = [part for part in parts if _is_unfinished(part)]
    finished = [part for part in parts if not _is_unfinished(part) and part["share"].iloc[-1] >= DONE]
    return {str(part["label"].iloc[0]): _forecast(part, finished, confidence) for part in unfinished}


def _is_unfinished(part: "pd.DataFrame") -> bool:
    end = part.iloc[-1]
    return bool(end["is_running"] or (end["is_planned"] and end["share"] < DONE))


def _forecast(part: "pd.DataFrame", finished: "list[pd.DataFrame]", confidence: float) -> RunForecast | Refused:
    from scipy.stats import t

    end = part.iloc[-1]
    if not end["is_planned"]:
        return Refused("the table does not say how long it will be; give planned_tokens, or max_steps beside step.")
    share = float(end["share"])
    usable = [curve for curve in finished if curve["share"].iloc[0] <= share]
    if len(usable) < MIN_FINISHED:
        return Refused(
            f"{len(usable)} finished runs have a curve at its share of {share:.0%}; a forecast needs at least {MIN_FINISHED}."
        )
    gain = np.array([_gain(curve, share) for curve in usable])
    sizes = np.array([float(curve["n"].iloc[-1]) for curve in usable])
    designs = [(np.ones((len(gain), 1)), np.ones(1))]
    if len(gain) >= MIN_FOR_LINE and np.isfinite([*sizes, end["n"]]).all() and np.ptp(np.log(sizes)) > 0:
        designs.append((np.column_stack([np.ones(len(gain)), np.log(sizes)]), np.array([1.0, math.log(end["n"])])))
    design, at = min(designs, key=lambda pair: float(np.mean(_left_out(pair[0], gain) ** 2)))
    coefficients = np.linalg.lstsq(design, gain, rcond=None)[0]
    spare = len(gain) - design.shape[1]
    variance = float(np.sum((gain - design @ coefficients) ** 2)) / spare
    spread = math.sqrt(variance * (1 + float(at @ np.linalg.inv(design.T @ design) @ at)))
    centre, reach = math.log(end["loss"]) + float(at @ coefficients), float(t.ppf((1 + confidence) / 2, spare)) * spread
    return RunForecast(
        run=str(end["label"]),
        n=float(end["n"]),
        share=share,
        now=float(end["loss"]),
        loss=Estimate(math.exp(centre), Interval(math.exp(centre - reach), math.exp(centre + reach))),
        error=float(np.sqrt(np.mean(_left_out(design, gain) ** 2))),
        num_finished=len(gain),
        confidence=confidence,
    )


def _gain(curve: "pd.DataFrame", share: float) -> float:
    """Log L(end) - log L(share) of a finished run, its curve interpolated in the share."""
    log_loss = np.log(curve["loss"].to_numpy(dtype=np.float64))
    return float(log_loss[-1] - np.interp(share, curve["share"].to_numpy(dtype=np.float64), log_loss))


def _left_out(design: FloatArray, values: FloatArray) -> FloatArray:
    """Errors of least squares for each value left out: residual over 1 - leverage."""
    inverse = np.linalg.pinv(design)
    with np.errstate(divide="ignore", invalid="ignore"):  # a run that alone fixes the line has no error, which counts as none
        return np.asarray((values - design @ (inverse @ values)) / (1 - np.sum(design * inverse.T, axis=1)))
