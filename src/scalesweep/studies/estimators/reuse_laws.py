"""Laws of repeated data on one table: how well each fits, and how far it misses the largest number of epochs unseen.

Both begin from the additive law of the fresh runs, so that few starts suffice: on the quick grid of the study they find the
minimum of `fit_form`, which tries up to 96, in a fiftieth of its time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scalesweep.arrays import FloatArray
from scalesweep.fit.criterion import WIDTH, corrected_akaike
from scalesweep.fit.forms import fit_form
from scalesweep.fit.pose import Posed
from scalesweep.fit.solve.huber import minimise
from scalesweep.laws import Chinchilla, Lovelace, Muennighoff
from scalesweep.studies.base import NOISE

ReuseLaw = Muennighoff | Lovelace
_STARTS: Mapping[type[ReuseLaw], Sequence[tuple[float, ...]]] = {
    Muennighoff: ((3.0, 1e5), (15.0, 1e5), (15.0, 5.0)),
    Lovelace: ((0.02, 0.7, 0.5), (0.02, 1.5, 0.5)),
}
"""R_D*, R_N*; P, delta, kappa: short and long worth, with parameters that keep theirs or lose it; slow and fast harm."""
_DELTA = WIDTH * NOISE
"""Width of the Huber loss: 95 % efficiency at the noise of the demo's grid."""


@dataclass(frozen=True, eq=False)
class LawFit:
    """One law on the means over seeds."""

    law: ReuseLaw
    """Fitted to all rows."""
    aicc: float
    """On all rows; see `criterion.corrected_akaike`."""
    blind: ReuseLaw
    """Fitted without the rows of the largest number of epochs."""


def fit_reuse_laws(table: pd.DataFrame, forms: Sequence[type[ReuseLaw]] = tuple(_STARTS)) -> dict[type[ReuseLaw], LawFit]:
    """Fit each law of N, D and U to the means over seeds of log loss.

    Args:
        table: rows with n, d, pool, log_loss and `is_fresh`, of one weight decay.
        forms: of `Muennighoff` and `Lovelace`.

    Raises:
        FitError: the fresh runs do not determine an additive law.
    """
    means = table.groupby(["n", "d", "pool", "is_fresh"])["log_loss"].mean().reset_index()
    fresh = fit_fresh_law(means)
    columns = {"N": means["n"].to_numpy(), "D": means["d"].to_numpy(), "U": means[["pool", "d"]].min(axis=1).to_numpy()}
    log_loss = means["log_loss"].to_numpy()
    seen = 1.0 - is_most_repeated(means)
    found = {}
    for form in forms:
        posed = Posed.of(form, columns, np.exp(log_loss))
        starts = np.concatenate([posed.theta(form(*fresh.theta, *start)) for start in _STARTS[form]])
        weights = np.repeat(np.stack([np.ones(len(means)), seen]), len(starts), axis=0)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            solution = minimise(posed.problem, np.tile(starts, (2, 1)), weights, _DELTA)
        best = np.argmin(solution.value.reshape(2, -1), axis=1) + np.array([0, len(starts)])
        law, blind = posed.laws(solution.theta[best])
        assert isinstance(law, ReuseLaw) and isinstance(blind, ReuseLaw)
        residual = log_loss - np.log(law.predict(*columns.values()))
        found[form] = LawFit(law, corrected_akaike(residual, np.ones(len(means)), posed.num_free), blind)
    return found


def fit_fresh_law(table: pd.DataFrame) -> Chinchilla:
    """The additive law of the fresh rows' means over seeds.

    Raises:
        FitError: they do not determine it.
    """
    means = table[table["is_fresh"]].groupby(["n", "d"])["log_loss"].mean().reset_index()
    law = fit_form(Chinchilla, {"N": means["n"], "D": means["d"]}, np.exp(means["log_loss"])).law
    assert isinstance(law, Chinchilla)
    return law


def is_most_repeated(table: pd.DataFrame) -> FloatArray:
    """1 for the rows of the largest number of epochs, else 0, shape (rows,)."""
    epochs = (table["d"] / table["pool"]).to_numpy()
    return np.asarray(epochs > 0.99 * epochs.max(), dtype=np.float64)


def misses(law: ReuseLaw, table: pd.DataFrame) -> FloatArray:
    """Ln L - ln L_predicted of each row, shape (rows,)."""
    predicted = law.predict(table["n"], table["d"], np.minimum(table["pool"], table["d"]))
    return np.asarray(table["log_loss"] - np.log(predicted))
