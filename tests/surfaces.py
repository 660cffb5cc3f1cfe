"""Simulated sweeps of known surfaces that several tests share."""

import numpy as np
import pandas as pd

from scalesweep.fit.pose import Posed
from scalesweep.fit.solve.objectives import Objective
from scalesweep.laws import Chinchilla, Coupled
from scalesweep.points.points import Points, points_from_rows
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec

TRUTH = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
COUPLED_TRUTH = Coupled(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28, kappa=0.6)
POINT = FitSpec(bootstrap=0)
SIZES = np.geomspace(5e6, 1.6e8, 6)
TOKENS = np.geomspace(2e7, 2e10, 5)


def make_points(n, d, loss, **columns) -> Points:
    """Points in the six-n convention, in the order given, with further columns."""
    frame = pd.DataFrame({"n": n, "d": d, "c": 6.0 * np.asarray(n) * np.asarray(d), "loss": loss, **columns})
    return points_from_rows(frame.to_dict("records"), "total", "six_n", "simulated")


def measure(law, n, d, noise: float, seed: int) -> Points:
    """Noisy losses of a law at n parameters and d tokens."""
    return make_points(n, d, law.predict(n, d) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n))))


def sweep(law=TRUTH, noise: float = 0.002, seed: int = 0) -> Points:
    """Six sizes from 5M to 160M, each at 5 to 80 tokens per parameter."""
    n, ratio = (axis.ravel() for axis in np.meshgrid(np.geomspace(5e6, 1.6e8, 6), (5, 10, 20, 40, 80)))
    return measure(law, n, n * ratio, noise, seed)


def minimum(n, d, loss, delta, form=Chinchilla):
    """A law posed on these rows and its minima under a Huber loss of this width; None: of the width that it estimates."""
    posed = Posed.of_rows(form, Rows.of_columns(n, d, loss))
    return posed, posed.descend(Objective("huber", delta))


def grid(law=TRUTH, noise=0.0, seed=0, sizes=SIZES, tokens=TOKENS) -> Points:
    """A law on every combination of sizes and budgets."""
    n, d = (axis.ravel() for axis in np.meshgrid(sizes, tokens))
    loss = law.predict(n, d) * np.exp(noise * np.random.default_rng(seed).standard_normal(n.shape))
    return make_points(n, d, loss)
