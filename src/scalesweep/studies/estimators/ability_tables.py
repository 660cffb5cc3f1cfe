"""Simulated answers of a design, in which what a judge of abilities asks for is known."""

import dataclasses
import math

import numpy as np
import pandas as pd

from scalesweep.arrays import FloatArray
from scalesweep.points.answers import Answers
from scalesweep.points.points import Points
from scalesweep.studies.base import with_losses
from scalesweep.studies.estimators.abilities import BUCKETS, drawn_answers
from scalesweep.studies.estimators.loss_as_predictor import held_out_error

NLL_NOISE = 0.25
"""Deviation between seeds of -ln p of a group of facts, nats an answer: .11 to .32 over the quick grid
(docs/studies/emergence.md)."""
EXACT_NOISE = 0.015
"""The same of exact match: .001 to .018."""
_GAINS = ((0.3, 0.6), (0.05, 0.55), (0.0, 0.25))
"""Exact match of the groups of facts at the smallest budget and what the largest adds, at the largest size."""
_BEND = 1.5
"""Power of the share of the ladder by which exact match rises: slowly at first."""
_KEYS, _TOKENS, _VALUES = 1024, 4, 16
"""Simulated keys: a quarter of those of the task, each of which then stands for four."""
_PROBLEMS, _SYMBOLS, _ALPHABET = 40, 8, 16
"""Simulated problems of copying, which are all alike."""
_FALL = 7.0
"""Nats that -ln p of facts falls over the ladder at the largest size."""


def draw_facts(
    points: Points, rng: np.random.Generator, noise: float, steady: float = 1.0, error: float | None = None
) -> Points:
    """Answers of facts: exact match rises slowly and then fast at every size, and more at larger ones.

    Args:
        points: whose cells.
        rng: of the noise.
        noise: deviation of log loss between seeds.
        steady: share of the progress of -ln p that is even in ln C; the rest comes with exact match.
        error: of -ln p of a size left out, given the loss of others, over the deviation between seeds; None: not planted.
    """
    frame = points.frame
    c, n = (frame[name].to_numpy(dtype=np.float64) for name in ("c", "n"))
    sizes = np.unique(n)
    place = np.searchsorted(sizes, n) / max(len(sizes) - 1, 1)
    x = np.zeros(len(frame))
    for size in sizes:
        own = n == size
        x[own] = np.log(c[own] / c[own].min()) / max(math.log(c[own].max() / c[own].min()), 1e-9)
    loss = 1.2 - 0.3 * x - 0.2 * place
    noisy_loss = loss * np.exp(noise * rng.standard_normal(len(frame)))
    reach = 0.4 + 0.6 * place
    exact, nll = [], []
    for bucket, (first, gain) in enumerate(_GAINS):
        rise = x**_BEND
        exact.append(np.clip(first + reach * gain * rise + EXACT_NOISE * rng.standard_normal(len(frame)), 0.0, 1.0))
        progress = steady * x + (1 - steady) * rise
        exactly = 12.0 + bucket - _FALL * reach * progress
        if error is not None:
            exactly = 12.0 + bucket + 8 * (np.log(loss) - math.log(1.2)) + _offsets(points, loss, error, noise)
        nll.append(exactly + NLL_NOISE * rng.standard_normal(len(frame)))
    answers = [_facts_answers([e[i] for e in exact], [y[i] for y in nll]) for i in range(len(frame))]
    return with_answers(points, answers, noisy_loss)


def draw_copy(
    points: Points,
    rng: np.random.Generator,
    noise: float,
    separation: float = 12.0,
    difference: float = 0.5,
    foretold: float | None = None,
) -> Points:
    """Answers to copying: none of the seeds before the middle budget, some there, all after it.

    Args:
        points: whose cells.
        rng: of the seeds.
        noise: deviation of log loss between seeds.
        separation: between the two groups, in standard deviations of each.
        difference: share of seeds of the largest size that copy at the middle budget, minus that of the others.
        foretold: squared correlation of -ln p with the loss of the same seed a budget before; None: not planted.
    """
    frame = points.frame
    n, d = (frame[name].to_numpy(dtype=np.float64) for name in ("n", "d"))
    budgets = np.unique(d)
    middle = budgets[len(budgets) // 2]
    share = np.where(d < middle, 0.0, 1.0)
    at = d == middle
    share[at] = 0.5 + difference / 2 * np.where(n[at] == n.max(), 1.0, -1.0)
    is_learnt = rng.random(len(frame)) < share
    guess = _SYMBOLS * math.log(_ALPHABET)
    deviation = min(0.5, guess / 1.5 / max(separation, 1.0))
    nll = guess - deviation * (separation * is_learnt - rng.standard_normal(len(frame)))
    loss = (1.8 - 0.05 * np.log(d / budgets[0])) * np.exp(noise * rng.standard_normal(len(frame)))
    if foretold is not None:
        ahead = rng.standard_normal(len(frame))
        earlier = budgets[max(len(budgets) // 2 - 1, 0)]
        seeds = frame["seed"].to_numpy()
        for i in np.flatnonzero(at):
            j = np.flatnonzero((n == n[i]) & (d == earlier) & (seeds == seeds[i]))
            mixed = math.sqrt(foretold) * ahead[j].sum() + math.sqrt(1 - foretold) * rng.standard_normal()
            is_learnt[i], nll[i] = mixed < 0, guess / 2 + mixed
        loss = (1.8 - 0.05 * np.log(d / budgets[0])) * (1 + max(noise, 1e-6) * ahead)
    answers = [
        drawn_answers(np.full(_PROBLEMS, max(one, 1e-9)), np.full(_PROBLEMS, learnt), _SYMBOLS, _ALPHABET)
        for one, learnt in zip(nll, is_learnt, strict=True)
    ]
    return with_answers(points, answers, loss)


def _facts_answers(exact: list[float], nll: list[float]) -> Answers:
    """Answers of all keys, of which these shares are known and -ln p has these means in each bucket."""
    rank = np.arange(1, 4 * _KEYS + 1, 4)
    values, known = np.zeros(len(rank)), np.zeros(len(rank), dtype=bool)
    for (first, last), share, mean in zip(BUCKETS, exact, nll, strict=True):
        inside = np.flatnonzero((rank >= first) & (rank <= last))
        number = round(share * len(inside))
        known[inside[:number]] = True
        values[inside] = mean
    return drawn_answers(values, known, _TOKENS, _VALUES, rank)


def _offsets(points: Points, loss: FloatArray, error: float, noise: float) -> FloatArray:
    """What is added at each size, alternately up and down, so that the error of a size left out is as it should be."""
    frame = points.frame
    sizes = np.unique(frame["n"])
    sign = np.where(np.searchsorted(sizes, frame["n"]) % 2, -1.0, 1.0)
    one = pd.DataFrame({"bucket": 0, "n": frame["n"], "d": frame["d"], "c": frame["c"], "loss": loss, "nll": sign})
    twin = pd.concat([one.assign(nll=sign + side * math.sqrt(0.5)) for side in (-1, 1)])  # replicates of deviation 1
    with_offset = held_out_error(twin, "loss").value
    without = held_out_error(twin.assign(nll=twin["nll"] - np.tile(sign, 2)), "loss").value
    spread = NLL_NOISE**2 + (8 * noise) ** 2
    wanted = max((error * NLL_NOISE) ** 2 - spread * without**2, 0.0)
    return np.asarray(sign * math.sqrt(wanted / max(with_offset**2 - without**2, 1e-9)))


def with_answers(points: Points, answers: list[Answers], loss: FloatArray) -> Points:
    """The same rows with these answers and losses, one for each row."""
    drawn = with_losses(points, loss)
    column = np.empty(len(answers), dtype=object)
    column[:] = answers
    return dataclasses.replace(drawn, frame=drawn.frame.assign(answers=column))
