"""Speed and exactness of the bootstrap against other ways to fit the same resamples, side by side in one run.

    python scripts/bench_bootstrap.py [--quick] [--points FILE] [--resamples NUM] [--sample NUM]

Every way refits the additive law to the same pairs resamples of Epoch's 240 points, by the sum of Huber losses of log L with
delta = 1e-3. The slow ones do so on the first few resamples, and their time is scaled up to all. Excess is how far the
objective ends above the best minimum that anything found for that resample, relative to it. Times are CPU time on one thread;
only their ratios are printed, because only those outlive the machine.
"""

import argparse
import functools
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.update({name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")})

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from scalesweep.arrays import FloatArray
from scalesweep.fit.pose import Posed
from scalesweep.fit.resampling import draw_weights, refit
from scalesweep.fit.solve.huber import minimise
from scalesweep.fit.solve.objectives import Descent, Objective
from scalesweep.fit.solve.powers import Problem
from scalesweep.laws import Chinchilla, Law
from scalesweep.points import read_points

Way = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
"""From log N, log D and log L of the rows of a resample to (log A, log B, log E, alpha, beta)."""

POINTS = Path(__file__).resolve().parents[1] / "tests" / "data" / "epoch_chinchilla.csv"
NUM_OUTLIERS = 5
"""The highest losses, which Besiroglu et al. 2024 leave out."""
DELTA = 1e-3
HOFFMANN = np.array([np.log(406.4), np.log(410.7), np.log(1.69), 0.34, 0.28])
"""Start of Besiroglu et al.: log A, log B, log E, alpha, beta of Hoffmann et al. 2022."""
GRID_STEP = 0.01
"""Resolution of the grid of exponents in the variable projection."""


@dataclass(frozen=True)
class Data:
    """The points and their resamples."""

    log_n: FloatArray
    log_d: FloatArray
    log_loss: FloatArray
    weights: FloatArray
    """How often each row is in each resample, shape (resamples, rows)."""


@dataclass(frozen=True)
class Outcome:
    """What one way found."""

    name: str
    seconds: float
    """CPU time for one resample."""
    laws: Sequence[Law]
    """Of the first resamples."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, default=POINTS, help="table of points (default: Epoch's)")
    parser.add_argument("--resamples", type=int, default=4000, help="resamples of the batched fit (default: 4000)")
    parser.add_argument("--sample", type=int, default=40, help="resamples of the slow ways (default: 40)")
    parser.add_argument("--quick", action="store_true", help="400 resamples, and 5 of the slow ways")
    options = parser.parse_args()
    resamples, sample = (400, 5) if options.quick else (options.resamples, options.sample)
    data = load(options.points, resamples)
    n, d, loss = (np.exp(column) for column in (data.log_n, data.log_d, data.log_loss))
    start = time.process_time()
    posed = Posed.of(Chinchilla, {"N": n, "D": d}, loss)
    descent = posed.descend(Objective("huber", DELTA))
    from_nothing = time.process_time() - start
    outcomes = [ours(data, posed, descent)]
    outcomes += [one_by_one(name, way, data, sample) for name, way in ways().items()]
    best = np.min([polished(data, posed, descent, sample), *(objective(data, one.laws[:sample]) for one in outcomes)], axis=0)
    print(f"{len(loss)} points, {resamples} resamples; the slow ways on {sample} of them, scaled up.\n")
    print(f"{'':<44}{'time / ours':>12}{'median excess':>16}{'largest excess':>16}{'above 1e-6':>12}")
    for one in outcomes:
        excess = objective(data, one.laws[:sample]) / best - 1
        print(
            f"{one.name:<44}{one.seconds / outcomes[0].seconds:>12.3g}{np.median(excess):>16.1e}{excess.max():>16.1e}"
            f"{np.mean(excess > 1e-6):>12.0%}"
        )
    print(
        f"\nOne fit from nothing (8 starts) takes as long as {from_nothing / outcomes[0].seconds:.3g} resamples of ours", end=""
    )
    print(
        f" and {from_nothing / outcomes[1].seconds:.2g} of scipy's BFGS; below 0.1 s: {'yes' if from_nothing < 0.1 else 'no'}."
    )
    for name in [name for name in WAYS if name not in ways()]:
        print(f"Not run, because the package {WAYS[name][0]} is not installed: {name}.")


def load(path: Path, resamples: int) -> Data:
    """The points without the highest losses, and their resamples."""
    points = read_points(path)
    kept = np.sort(np.argsort(points.loss)[:-NUM_OUTLIERS])
    weights = draw_weights(np.arange(len(kept)), resamples, np.random.default_rng(0))
    return Data(np.log(points.n[kept]), np.log(points.d[kept]), np.log(points.loss[kept]), weights)


def ours(data: Data, posed: Posed, descent: Descent) -> Outcome:
    """Batched Newton on all resamples."""
    start = time.process_time()
    theta = refit(posed.problem, descent.minima.theta, data.weights, DELTA).theta
    seconds = time.process_time() - start
    return Outcome("scalesweep: batched Newton, exact Hessian", seconds / len(data.weights), posed.laws(theta))


def ways() -> dict[str, Way]:
    """The slow ways whose packages are there, by name."""
    return {name: way for name, (package, way) in WAYS.items() if importlib.util.find_spec(package) is not None}


def one_by_one(name: str, way: Callable[[FloatArray, FloatArray, FloatArray], FloatArray], data: Data, sample: int) -> Outcome:
    """A fit of copied rows for each of the first resamples."""
    way(data.log_n, data.log_d, data.log_loss)  # imports and warms up
    laws, seconds = [], 0.0
    for weights in data.weights[:sample]:
        rows = np.repeat(np.arange(len(weights)), weights.astype(int))
        start = time.process_time()
        a, b, e, alpha, beta = way(data.log_n[rows], data.log_d[rows], data.log_loss[rows])
        seconds += time.process_time() - start
        laws.append(Chinchilla(float(np.exp(e)), float(np.exp(a)), float(np.exp(b)), float(alpha), float(beta)))
    return Outcome(name, seconds / sample, laws)


def bfgs_analytic(log_n: FloatArray, log_d: FloatArray, log_loss: FloatArray) -> FloatArray:
    """What a first script does: log-sum-exp, Huber loss, its gradient, and BFGS with scipy's defaults."""

    def value_and_gradient(theta: FloatArray) -> tuple[float, FloatArray]:
        a, b, e, alpha, beta = theta
        terms = np.stack([a - alpha * log_n, b - beta * log_d, np.full_like(log_n, e)])
        predicted = logsumexp(terms, axis=0)
        residual = log_loss - predicted
        size = np.abs(residual)
        value = np.sum(np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA)))
        shares = np.exp(terms - predicted)
        slope = -np.clip(residual, -DELTA, DELTA)
        by_term = shares @ slope
        return value, np.array([*by_term, -(shares[0] * log_n) @ slope, -(shares[1] * log_d) @ slope])

    return np.asarray(minimize(value_and_gradient, HOFFMANN, jac=True, method="BFGS").x)


def bfgs_autodiff(log_n: FloatArray, log_d: FloatArray, log_loss: FloatArray) -> FloatArray:
    """The same with the gradient by the package autograd, as in the notebook of Besiroglu et al. 2024."""
    import autograd.numpy as anp
    from autograd import grad
    from autograd.scipy.special import logsumexp as traced_logsumexp

    def value(theta: FloatArray) -> float:
        a, b, e, alpha, beta = theta
        terms = anp.stack([a - alpha * log_n, b - beta * log_d, e + anp.zeros(len(log_n))])
        size = anp.abs(log_loss - traced_logsumexp(terms, axis=0))
        total: float = anp.sum(anp.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA)))
        return total

    return np.asarray(minimize(value, HOFFMANN, jac=grad(value), method="BFGS").x)


def chinchilla_package(log_n: FloatArray, log_d: FloatArray, log_loss: FloatArray) -> FloatArray:
    """The package chinchilla, with one start instead of its grid, its Huber loss at this delta, and without its figure.

    Its objective is a mean: at this delta the default tolerance of BFGS is met next to the start.
    """
    import pandas as pd
    from chinchilla import Chinchilla as Package
    from chinchilla._metrics import log_huber

    log_a, log_b, log_e, alpha, beta = HOFFMANN
    grid = {"E": [np.exp(log_e)], "a": [log_a], "b": [log_b], "alpha": [alpha], "beta": [beta]}  # read by position
    with tempfile.TemporaryDirectory() as directory:
        package = Package(directory, grid, loss_fn=functools.partial(log_huber, delta=DELTA), log_level=50)
        n, d = np.exp(log_n), np.exp(log_d)
        package.database.df = pd.DataFrame({"C": 6 * n * d, "N": n, "D": d, "loss": np.exp(log_loss)})
        package.visualizer.optim = lambda *_, **__: None
        package.fit(parallel=False)
    return np.array([np.log(package.A), np.log(package.B), np.log(package.E), package.alpha, package.beta], dtype=float)


def variable_projection(log_n: FloatArray, log_d: FloatArray, log_loss: FloatArray) -> FloatArray:
    """The method of the package vpnls, written from its description: E, A, B by linear solves on a grid of exponents.

    The solves minimise a Huber loss by ten reweightings. They are of the relative residual L_predicted / L - 1, which is linear
    in E, A and B and close to the residual of log L.
    """
    exponents = np.arange(GRID_STEP, 1, GRID_STEP)
    best, result = np.inf, np.zeros(5)
    powers_d = np.exp(-np.multiply.outer(exponents, log_d - log_d.mean()))
    for alpha in exponents:
        power_n = np.broadcast_to(np.exp(-alpha * (log_n - log_n.mean())), powers_d.shape)
        basis = np.stack([np.ones_like(powers_d), power_n, powers_d], axis=2) / np.exp(log_loss)[:, None]
        weights = np.ones(powers_d.shape)
        for _ in range(10):
            weighted = basis * weights[:, :, None]
            gram = weighted.swapaxes(1, 2) @ basis + 1e-12 * np.eye(3)
            coefficients = np.linalg.solve(gram, weighted.sum(axis=1)[:, :, None])
            residual = (basis @ coefficients)[:, :, 0] - 1
            weights = DELTA / np.maximum(np.abs(residual), DELTA)
        size = np.abs(residual)
        value = np.sum(np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA)), axis=1)
        value[(coefficients <= 0).any(axis=(1, 2))] = np.inf
        at = int(np.argmin(value))
        if value[at] < best:
            best, (e, a, b), beta = value[at], np.log(coefficients[at, :, 0]), exponents[at]
            result = np.array([a + alpha * log_n.mean(), b + beta * log_d.mean(), e, alpha, beta])
    return result


def objective(data: Data, laws: Sequence[Law]) -> FloatArray:
    """Sum of weighted Huber losses of each law on its resample, shape (laws,)."""
    predicted = np.log([law.predict(np.exp(data.log_n), np.exp(data.log_d)) for law in laws])
    size = np.abs(data.log_loss - predicted)
    loss = np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA))
    return np.asarray(np.sum(data.weights[: len(laws)] * loss, axis=1))


def polished(data: Data, posed: Posed, descent: Descent, sample: int) -> FloatArray:
    """The least objective from 12 random starts per resample through narrowing Huber losses, shape (sample,)."""
    problem: Problem = posed.problem
    rng, weights = np.random.default_rng(1), data.weights[:sample]
    values = []
    for _ in range(12):
        theta = descent.minima.theta[0] * np.exp(0.3 * rng.standard_normal((sample, len(problem.lower))))
        for delta in (3e-2, 5e-3, DELTA):
            theta = minimise(problem, theta, weights, delta).theta
        values.append(objective(data, posed.laws(theta)))
    return np.asarray(np.min(values, axis=0))


WAYS: dict[str, tuple[str, Way]] = {
    "scipy: BFGS, analytic gradient": ("scipy", bfgs_analytic),
    "scipy: BFGS, autograd (the notebook's way)": ("autograd", bfgs_autodiff),
    "variable projection: exponent grid, IRLS": ("scipy", variable_projection),
    "chinchilla: one start, long double": ("chinchilla", chinchilla_package),
}
"""Which package each way needs, and its function."""

if __name__ == "__main__":
    main()
