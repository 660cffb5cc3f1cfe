"""Rounds of an adaptive sweep on simulated surfaces: goals, proposals, stops, replicates, and a log after a kill."""

import itertools
import json
import math

import numpy as np
import pytest

from scalesweep.analysis.forecast.dated import Prediction
from scalesweep.analysis.forecast.exponent_cells import CHEAPEST, GROWTH, MOST_COPIES, MOST_RATIO, Place, exponent_cells
from scalesweep.analysis.forecast.goal import Goal, parse_goal, read_goal
from scalesweep.analysis.forecast.rounds import End, Log, Round, next_round, predict_cells
from scalesweep.errors import FitError, Refused
from scalesweep.laws import Chinchilla
from scalesweep.points.points import points_from_rows
from scalesweep.report.words.adaptive import describe_end, describe_round, rounds_lines, rounds_rows, sealed_rows
from scalesweep.settings.fit import FitSpec

LAW = Chinchilla(1.5, 0.8 * 84e3**0.35, 405e3**0.30, 0.35, 0.30)
SPEC = FitSpec(bootstrap=20)
START = [(n, d, 0) for n, d in itertools.product([14e3, 42e3, 126e3], [128e3, 256e3, 512e3])]
GOAL = Goal("a", 0.06)
BUDGET = 2e13


def snap(n, d):
    return Place(n, d, 6 * n * d)


def measure(cells, noise=0.0046):
    """Points of the cells, whose noise depends on the cell alone, as that of a real cell does."""
    rows = []
    for n, d, seed in cells:
        luck = np.random.default_rng([round(n), round(d), seed, 3]).standard_normal()
        rows.append({"n": n, "d": d, "c": 6 * n * d, "loss": float(LAW.predict(n, d)) * math.exp(noise * luck), "seed": seed})
    return points_from_rows(rows, "with_head", "six_n", "simulated")


def go_on(cells, log, most=40):
    """Measure until the end."""
    cells = [*cells, *((c.n, c.d, c.seed) for made in log.rounds for c in made.cells)]
    for _ in range(most):
        made = next_round(measure(cells), log, SPEC, snap)
        if isinstance(made, End):
            return measure(cells), log, made
        cells += [(c.n, c.d, c.seed) for c in made.cells]
        log = log.with_round(made)
    raise AssertionError("it does not end")


@pytest.fixture(scope="module")
def finished():
    return go_on(START, Log(GOAL, BUDGET))


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("a<.03", Goal("a", 0.03)),
        ("a <= 0.03", Goal("a", 0.03)),
        ("{a: .03}", Goal("a", 0.03)),
        ("{a:.03}", Goal("a", 0.03)),
        ("error<3%", Goal("error", 0.03)),
        ("error<.03", Goal("error", 0.03)),
        ("{error: 3%}", Goal("error", 0.03)),
    ],
)
def test_a_goal_is_read_as_people_write_it(text, goal):
    found = parse_goal(text)
    assert (found.quantity, found.half_width) == (goal.quantity, pytest.approx(goal.half_width))


@pytest.mark.parametrize("text", ["", "a", "b<.03", "a<3%", "a<0", "a<.5", "error<100%", "a>.03", "a<.03,error<3%", "a<-1"])
def test_what_is_no_goal_is_refused(text):
    with pytest.raises(ValueError, match="half-width"):
        parse_goal(text)


def test_a_sweep_ends_as_narrow_as_asked_after_a_replicate(finished):
    points, log, end = finished
    assert end.reason == "reached"
    assert GOAL.width(end.reading) <= GOAL.half_width
    assert end.reading.low < LAW.a < end.reading.high
    assert end.spent_flops == pytest.approx(points.c.sum()) and end.spent_flops < BUDGET
    last, before = log.rounds[-1], log.rounds[-2]
    assert isinstance(last.reading, Prediction) and isinstance(now := read_goal(points, GOAL, SPEC), Prediction)
    assert (end.reading.low, end.reading.high) == (min(last.reading.low, now.low), max(last.reading.high, now.high))
    assert last.kind == "replicate" and last.reason == "reached"
    assert sorted((c.n, c.d) for c in last.cells) == sorted((c.n, c.d) for c in before.cells)
    assert {(c.n, c.d, c.seed) for c in last.cells}.isdisjoint((c.n, c.d, c.seed) for c in before.cells)


def test_no_cell_is_measured_twice_with_one_seed(finished):
    _, log, _ = finished
    cells = [*START, *((c.n, c.d, c.seed) for made in log.rounds for c in made.cells)]
    assert len(set(cells)) == len(cells)


def test_every_prefix_of_a_log_goes_on_to_the_same_rounds(finished):
    _, log, end = finished
    content = json.loads(json.dumps(log.to_dict(), allow_nan=False))
    assert Log.from_dict(content) == log
    for kept in (len(log.rounds) - 1, len(log.rounds)):
        before = Log.from_dict({**content, "rounds": content["rounds"][:kept]})
        assert go_on(START, before)[1:] == (log, end)


def test_a_start_that_is_narrow_enough_has_no_round_and_no_replicate():
    made = next_round(measure(START), Log(Goal("a", 0.49), BUDGET), SPEC, snap)
    assert isinstance(made, End) and made.reason == "reached"
    assert "fixed beforehand" in describe_end(made, Log(Goal("a", 0.49), BUDGET))


def test_a_small_budget_ends_in_a_replicate_within_it():
    start = sum(6 * n * d for n, d, _ in START)
    log = Log(Goal("a", 0.001), 2.2 * start)
    points, log, end = go_on(START, log)
    assert end.reason == "budget"
    assert points.c.sum() <= log.budget_flops
    assert log.rounds[-1].kind == "replicate"
    assert "Not reached" in describe_end(end, log)
    more = next_round(points, Log(log.goal, 10 * start, rounds=log.rounds), SPEC, snap)
    assert isinstance(more, Round) and more.kind == "cells"


def test_rounds_that_change_nothing_end_the_sweep(finished):
    points, log, _ = finished
    now = read_goal(points, GOAL, SPEC)
    width = GOAL.width(now)
    same = [Round("cells", None, now, None, made.spent_flops, made.cells, "") for made in log.rounds]
    stalled = Log(Goal("a", width / 2), BUDGET, rounds=tuple(same[-2:]))
    made = next_round(points, stalled, SPEC, snap)
    assert isinstance(made, Round) and (made.kind, made.reason) == ("replicate", "stalled")
    ended = next_round(points, stalled.with_round(made), SPEC, snap)
    assert isinstance(ended, End) and ended.reason == "stalled"


def test_the_exponents_cells_stay_within_their_limits():
    points = measure(START)
    budget = 0.7 * float(points.c.sum())
    proposal = exponent_cells(points, SPEC, budget, snap)
    largest = float(points.c.max())
    assert proposal.spent_flops <= budget
    assert proposal.half_width < GOAL.width(proposal.before)
    for cell in proposal.cells:
        assert CHEAPEST * largest <= cell.c <= GROWTH * largest * 1.001
        assert 1 <= cell.d / cell.n <= MOST_RATIO
    assert max(sum(cell == other for other in proposal.cells) for cell in proposal.cells) <= MOST_COPIES
    with pytest.raises(FitError, match="buy no cell"):
        exponent_cells(points, SPEC, 1e6, snap)
    with pytest.raises(FitError, match="no cell that would tell more"):
        exponent_cells(points, SPEC, budget, lambda n, d: None)


def test_the_loss_at_a_target_is_approached_by_a_ladder():
    cells, goal = list(START), Goal("error", 0.02, 1.2e13)
    log = Log(goal, 4e12)
    made = next_round(measure(cells), log, SPEC, snap, predict_cells)
    assert isinstance(made, Round) and made.kind == "cells"
    assert max(c.c for c in made.cells) > 1.5 * max(6 * n * d for n, d, _ in cells)
    assert made.flops <= (4e12 - made.spent_flops) / 2
    for cell in made.cells:
        assert isinstance(cell.loss, Prediction)
        assert cell.loss.low < float(LAW.predict(cell.n, cell.d)) < cell.loss.high
    assert "loss at 1.2e13 FLOPs" in describe_round(made, log, 1)


def test_a_quantity_that_the_points_do_not_tell_is_refused():
    far = read_goal(measure(START), Goal("error", 0.03, 1e20), SPEC)
    assert isinstance(far, Refused) and "nothing is forecast" in far.reason
    assert math.isinf(Goal("error", 0.03, 1e20).width(far))
    one_size = [(14e3, d, 0) for d in np.geomspace(1e5, 1e6, 8)]
    assert isinstance(read_goal(measure(one_size), GOAL, SPEC), Refused)


def test_words_tell_each_round_and_what_its_seal_was_worth(finished):
    _, log, end = finished
    cell = log.rounds[0].cells[0]
    lines = rounds_lines(Log(GOAL, BUDGET, rounds=log.rounds, end=end), {})
    assert len(lines) == len(log.rounds) + 2
    assert lines[0].startswith("Adaptive sweep for a ± 0.06")
    assert lines[-1].startswith("Reached in") and "with a replicate of the last rung" in lines[-1]
    known = Log.from_dict(json.loads(json.dumps(log.to_dict())))
    first = known.rounds[0]
    told = Round(
        "cells", None, first.reading, None, 1.0, (type(cell)(cell.n, cell.d, cell.c, 0, Prediction(3.0, 2.9, 3.1)),), ""
    )
    losses = {(cell.n, cell.d, 0): 3.2}
    assert "0 of 1 losses lay in the intervals sealed before" in rounds_lines(Log(GOAL, BUDGET, rounds=(told,)), losses)[1]
    (row,) = sealed_rows(Log(GOAL, BUDGET, rounds=(told,)), losses)
    assert (row["predicted"], row["measured"], row["inside"]) == ("3", "3.2", "no")
    assert len(rounds_rows(Log(GOAL, BUDGET, rounds=log.rounds, end=end))) == len(log.rounds) + 1
