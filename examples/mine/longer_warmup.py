"""The judge of study/longer_warmup.yaml: how far the loss falls where the warm-up is longer and all else is equal."""

import numpy as np
import pandas as pd
from scipy import stats

from scalesweep.errors import PointsError
from scalesweep.report.charts.chart import Axis, Chart, Dots, Panel, log_axis
from scalesweep.report.charts.chart import Rule as Across
from scalesweep.studies.base import CONFIDENCE, Arms, Control, Effect, Findings, Rule, arm, replicate_noise, with_losses

PAIR = ["n", "d", "seed"]
"""What two runs of a pair have in common: initial weights and the order of the text, so that their noise is partly shared."""


def judge(arms: Arms, rule: Rule) -> Findings:
    """The mean drop of log loss over pairs, with Student's t interval; a drop of .01 is one per cent of the loss."""
    base, long = arm(arms, "base"), arm(arms, "long")
    pairs = base.used[[*PAIR, "loss"]].merge(long.used[[*PAIR, "loss"]], on=PAIR, suffixes=("_base", "_long"))
    pairs["drop"] = np.log(pairs["loss_base"] / pairs["loss_long"])
    if pairs["seed"].nunique() < 2:
        raise PointsError("the study needs the same two seeds or more of both arms.")
    largest = pairs[pairs["n"] == pairs["n"].max()]
    effects = {"drop": mean_drop(pairs["drop"]), "drop_at_largest_n": mean_drop(largest["drop"])}
    lone = len(base.used) + len(long.used) - 2 * len(pairs)
    found = effects["drop"]
    return Findings(
        effects,
        f"The longer warm-up took {found.value:.1%} [{found.low:.1%}, {found.high:.1%}] off the loss.",
        drops_by_size(pairs),
        (Control("pairs", "Both arms have the same N, D and seeds; so many runs have no partner", lone == 0, lone, truth=0),),
        replicate_noise(base)[0],
        (f"{len(pairs)} pairs of runs; learning rates were not tuned to the warm-up.",),
        {"Pairs": pairs.to_dict("records")},
    )


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """Losses of a power law of N, of which the longer warm-up takes theta at every size."""
    if part != "drop":
        raise KeyError(part)
    drawn = {}
    for name, points in arms.items():
        log_loss = np.log(2 + 30 / points.n**0.3) - theta * (name == "long")
        drawn[name] = with_losses(points, np.exp(log_loss + noise * rng.standard_normal(len(points.n))))
    return drawn


def mean_drop(drops: "pd.Series[float]") -> Effect:
    """Mean of the pairs, which are taken to be independent: one budget, so that no two are branches of one trunk."""
    mean, error = float(drops.mean()), float(drops.std() / np.sqrt(len(drops)))
    low, high = stats.t.interval(CONFIDENCE, len(drops) - 1, mean, error)
    return Effect(mean, float(low), float(high), says=f"{mean:.1%} [{low:.1%}, {high:.1%}] off the loss")


def drops_by_size(pairs: pd.DataFrame) -> Chart:
    """A dot a pair."""
    n, drop = pairs["n"].to_numpy(dtype=float), 100 * pairs["drop"].to_numpy(dtype=float)
    limit = 1.2 * float(np.abs(drop).max())
    up = Axis("percent", -limit, limit, "drop of the loss (%)", is_log=False)
    panel = Panel("Drop by the longer warm-up", log_axis("n", n), up, (Across("y", 0, "dash"), Dots(n, drop, "first")))
    return Chart(
        "longer_warmup",
        "Each dot is a pair of runs that differ by their warm-up; above the line the longer is better.",
        (panel,),
    )
