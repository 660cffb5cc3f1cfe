"""Simulated tables of repeated data in which the worth of tokens, their harm or the effect of weight decay is known exactly."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from scalesweep.arrays import FloatArray
from scalesweep.laws import Chinchilla, Lovelace, Muennighoff
from scalesweep.studies.base import Arms, with_losses
from scalesweep.studies.estimators.reuse import is_large, tabulate
from scalesweep.studies.estimators.reuse_laws import ReuseLaw, is_most_repeated

FRESH = Chinchilla(E=1.895, A=51.5, B=32.9, alpha=0.417, beta=0.272)
"""Of the three smallest sizes of the demo's grid at context 32: its slopes decide how much noise a worth has."""
_KEPT = 1e6
"""R_N* at which no parameter is in excess, and R_D* at which no token loses its worth."""
_DELTA, _KAPPA = 1.0, 0.7
"""Of Lovelace's term: what its law has on the quick grid, to one digit."""
_EXCESS = 0.3
"""Mean nats that repetition costs at the most epochs under the weaker decay, about what it does on the quick grid."""


def _muennighoff(r_d: float, r_n: float = _KEPT) -> Muennighoff:
    return Muennighoff.build((*FRESH.theta, r_d, r_n), Muennighoff.variables)


PUBLISHED = _muennighoff(15.4, 5.3)
"""The worth of repeated tokens and of excess parameters that Muennighoff et al. 2023 found, on these fresh losses."""


def simulate_reuse(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """The rows of `arms` with losses of a law in which the effect of `part` is theta, and log-normal noise.

    Worths are those of Muennighoff's law, harm and the effect of decay those of Lovelace's.

    Raises:
        KeyError: the part is a comparison of laws, which no one number plants.
        ValueError: no law has this effect.
        PointsError: as of `tabulate`.
    """
    table = tabulate(arms)
    weak, strong = _laws(table, part, theta, noise)
    loss = np.where(table["decay"] == 0, predict(weak, table), predict(strong, table))
    names = ["n", "d", "seed", "unique_tokens", *(["weight_decay"] if "weight_decay" in table else [])]
    drawn = table.rename(columns={"pool": "unique_tokens"}).assign(drawn=loss * np.exp(noise * rng.standard_normal(len(table))))
    drawn = drawn.drop_duplicates(names)[[*names, "drawn"]]
    whole = pd.concat([points.frame[names].assign(arm=name) for name, points in arms.items()]).merge(
        drawn, how="left", on=names
    )
    return {name: with_losses(points, whole.loc[whole["arm"] == name, "drawn"].to_numpy()) for name, points in arms.items()}


def predict(law: ReuseLaw, table: pd.DataFrame) -> FloatArray:
    """Loss of every row, shape (rows,)."""
    return law.predict(table["n"].to_numpy(), table["d"].to_numpy(), table[["pool", "d"]].min(axis=1).to_numpy())


def harmful_law(table: pd.DataFrame, excess: float = _EXCESS) -> Lovelace:
    """Lovelace's law with this mean excess, in nats, at the most epochs."""
    one = Lovelace.build((*FRESH.theta, 1.0, _DELTA, _KAPPA), Lovelace.variables)
    most = table[is_most_repeated(table) > 0]
    return _with(one, excess / float(_excess(one, most).mean()))


def worth_of_epochs(epochs: float, r_d: float) -> float:
    """D' / D of Muennighoff's law at this number of epochs."""
    return (1 - r_d * float(np.expm1(-(epochs - 1) / r_d))) / epochs


def _laws(table: pd.DataFrame, part: str, theta: float, noise: float) -> tuple[ReuseLaw, ReuseLaw]:
    """Under the weaker decay and under the stronger one."""
    pools = table[~table["is_fresh"]]
    large = pools[is_large(pools)]
    harmful = harmful_law(table)
    most = large[is_most_repeated(large) > 0]
    if part == "four_epochs":
        kept = _KEPT if theta >= 1 else brentq(lambda r_d: worth_of_epochs(4, r_d) - theta, 1e-3, _KEPT)
        both: ReuseLaw = _muennighoff(kept)
    elif part == "late_passes":
        first, last = np.sort((large["d"] / large["pool"]).unique())[-2:].tolist()

        def between(r_d: float) -> float:
            return float(last * worth_of_epochs(last, r_d) - first * worth_of_epochs(first, r_d)) / float(last - first)

        both = _muennighoff(brentq(lambda r_d: between(r_d) - theta, 0.05, _KEPT))
    elif part == "harm":
        budgets = large.drop_duplicates(["n", "pool", "d"]).sort_values("d")
        both = _with(harmful, brentq(lambda p: _harm(_with(harmful, p), budgets) - theta * noise, 0.0, 100 * harmful.P))
    else:
        share: Mapping[str, float] = {
            "decay_excess": theta,
            "decay_loss": theta / float(_excess(harmful, most).groupby(most["n"].to_numpy()).mean().mean()),
        }
        return harmful, _with(harmful, (1 - share[part]) * harmful.P)
    return both, both


def _with(law: Lovelace, p: float) -> Lovelace:
    return dataclasses.replace(law, P=p)


def _excess(law: ReuseLaw, rows: pd.DataFrame) -> pd.Series:
    return pd.Series(predict(law, rows) - FRESH.predict(rows["n"].to_numpy(), rows["d"].to_numpy()))


def _harm(law: ReuseLaw, budgets: pd.DataFrame) -> float:
    """Mean over sizes and pools of ln L at the most epochs minus its lowest at fewer; one row a budget, increasing."""
    log_loss = np.log(predict(law, budgets))
    own = [log_loss[rows] for rows in budgets.groupby(["n", "pool"]).indices.values()]
    return float(np.mean([losses[-1] - losses[:-1].min() for losses in own]))
