"""Rival laws in closed form against the same laws through their gradients alone."""

import numpy as np
import pytest

from scalesweep.fit.pose import Posed
from scalesweep.fit.solve.huber import derivatives, minimise
from scalesweep.fit.solve.huber import objective as huber_objective
from scalesweep.laws import KaplanFloor, Quadratic
from scalesweep.points.rows import Rows


def posed(form: type, noise: float) -> Posed:
    rng = np.random.default_rng(3)
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 3e9, 6), np.geomspace(3e8, 1e11, 5)))
    loss = KaplanFloor(1.7, 60.0, 900.0, 0.25, 0.3).predict(n, d) * np.exp(noise * rng.standard_normal(len(n)))
    return Posed.of_rows(form, Rows.of_columns(n, d, loss))


@pytest.mark.parametrize("form", [KaplanFloor, Quadratic])
def test_the_closed_form_has_the_derivatives_of_its_objective(form):
    problem, delta = posed(form, 0.01).problem, 0.02
    rng = np.random.default_rng(0)
    theta = np.clip(rng.uniform(0.1, 0.6, (4, len(problem.lower))), problem.lower, problem.upper)
    weights = rng.integers(0, 3, (4, len(problem.y))).astype(float)
    gradient, hessian, _ = derivatives(problem, theta, weights, delta)
    step = 1e-6
    for i in range(theta.shape[1]):
        move = step * np.eye(theta.shape[1])[i]
        up, down = (huber_objective(problem, theta + sign * move, weights, delta) for sign in (1, -1))
        np.testing.assert_allclose(gradient[:, i], (up - down) / (2 * step), rtol=1e-5, atol=1e-8)
        up, down = (derivatives(problem, theta + sign * move, weights, delta)[0] for sign in (1, -1))
        np.testing.assert_allclose(hessian[:, i], (up - down) / (2 * step), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", [KaplanFloor, Quadratic])
def test_the_closed_form_has_the_minima_of_the_law(form):
    given = posed(form, 0.01)
    weights = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), size=20).astype(float)
    start = given.frame.form.initial(given.frame.columns, given.frame.loss) if form is Quadratic else None
    theta = start if start is not None else given.theta(KaplanFloor(1.7, 60.0, 900.0, 0.25, 0.3))
    starts = np.repeat(theta, len(weights), axis=0)
    closed, frame = (minimise(problem, starts, weights, 0.02) for problem in (given.problem, given.frame))
    assert closed.converged.all()
    np.testing.assert_allclose(closed.value, frame.value, rtol=1e-9)
    loss = [given.problem.log_loss(found.theta) for found in (closed, frame)]
    np.testing.assert_allclose(*loss, atol=1e-7)
