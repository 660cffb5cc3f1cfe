"""Known mistakes: published numbers come out, and arms that do not make the mistake do not show it."""

import dataclasses

import numpy as np
import pytest

from scalesweep.studies.base import Findings, Rule, decide
from scalesweep.studies.estimators.known_mistakes import HOFFMANN, isoflop_bias, ray_errors, rounding, stopped_early
from scalesweep.studies.estimators.planted import noisy

FEW = Rule(draws=60)


@pytest.fixture(scope="module")
def measured(arms):
    """The quick grid: a law with noise, 3 % more without decay, and 2 % more in the shortest runs of a long warm-up."""
    rng = np.random.default_rng(0)
    found = {}
    for name, points in arms.items():
        n, d = (points.frame[column].to_numpy(dtype=np.float64) for column in ("n", "d"))
        loss = HOFFMANN.predict(n, d)
        loss = loss * {"undecayed": 1.03, "long_warmup": np.where(d == d.min(), 1.02, 1.0)}.get(name, 1.0)
        found[name] = noisy(points, loss, 1e-3, rng)
    return found


@pytest.fixture(scope="module")
def found(study, measured) -> Findings:
    return study.module.judge(measured, FEW)


def test_every_mistake_comes_out_again(study, found):
    words = {part.name: decide(part, found.effects[part.name]).word for part in study.spec.parts}
    assert {name for name, word in words.items() if word != "supported"} <= {"decay"}, words  # whose shift is but two errors
    assert all(control.passed for control in found.controls)


@pytest.mark.parametrize(("part", "published"), [("head", 0.1288), ("warmup", 0.1044), ("decay", 0.0305), ("tuning", 0.0746)])
def test_exponents_shift_as_published(found, part, published):
    assert found.effects[part].value == pytest.approx(published, abs=5e-3)
    assert found.effects[part].low < published < found.effects[part].high


@pytest.mark.parametrize(("span", "published"), [(2, -0.327), (4, -1.301), (8, -2.903), (16, -5.100)])
def test_parabolas_miss_as_published(span, published):
    assert 100 * isoflop_bias(HOFFMANN, span) == pytest.approx(published, rel=5e-4)


def test_rounding_and_an_early_stop_cost_what_was_published():
    assert rounding() == pytest.approx((4.1210e-3, 1.2312e-3), rel=5e-5)
    stopped, steps = stopped_early()
    assert steps == 2
    assert stopped == pytest.approx(1.1718e-3, rel=1e-3)


def test_a_ray_leaves_alpha_open():
    ray, grid = ray_errors()
    assert ray > 50 * grid


def test_arms_without_the_mistake_do_not_show_it(study, measured):
    base = measured["base"]
    right = {"base": base, "undecayed": base, "long_warmup": base}
    effects = study.module.judge(right, FEW).effects
    for name in ("undecayed", "long_warmup"):
        part = next(part for part in study.spec.parts if part.name == name)
        assert decide(part, effects[name]).word == "contradicted"


def test_without_arms_the_published_parts_stand(study):
    effects = study.module.judge({}, FEW).effects
    missing = {name for name, effect in effects.items() if np.isnan(effect.value)}
    assert missing == {"undecayed", "best_of_two", "long_warmup"}


def test_a_fault_in_the_surface_fails_the_control(study, measured, monkeypatch):
    monkeypatch.setattr(study.module, "isoflop_bias", lambda law, span: 0.01)
    assert [control.passed for control in study.module.judge(measured, FEW).controls] == [False]


@pytest.mark.parametrize("theta", [0.0, 0.13])
def test_a_planted_shift_of_the_exponent_is_found(study, arms, theta):
    drawn = study.module.simulate(arms, "head", theta, 0.0, np.random.default_rng(0))
    assert study.module.judge(drawn, FEW).effects["head"].value == pytest.approx(theta, abs=0.04)
    with pytest.raises(KeyError):
        study.module.simulate(arms, "ray", 1.0, 0.0, np.random.default_rng(0))


def test_two_equal_seeds_leave_nothing_to_choose(study, measured):
    base = measured["base"]
    frame = base.frame.assign(loss=HOFFMANN.predict(base.frame["n"], base.frame["d"]))
    effect = study.module.judge({"base": dataclasses.replace(base, frame=frame)}, FEW).effects["best_of_two"]
    assert "equal losses" in effect.withheld
