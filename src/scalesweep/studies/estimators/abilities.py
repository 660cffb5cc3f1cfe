"""What cells can do, from their answers to a task: its smooth and its sharp metric, by how common the problems are."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.errors import PointsError
from scalesweep.points.answers import Answers
from scalesweep.points.points import Points

BUCKETS = ((1, 64), (65, 512), (513, 4096))
"""First and last rank of groups of facts: each next one holds eight times as many, each met a few times less often."""
ABSENT = 0.1
"""Largest exact match, mean over seeds, at the smallest budget of an ability that is not there yet."""
APPEARS = 0.1
"""Smallest gain of exact match over the budgets of an ability that appears: twice the spread that seeds and a few hundred
problems leave."""


@dataclass(frozen=True)
class Steadiness:
    """Sums over the steps of one run's ladder, whose ratio is the share of progress that is steady in ln C."""

    n: float
    seed: int
    over: float
    under: float


def abilities(points: Points, buckets: Sequence[tuple[int, int]] = ()) -> pd.DataFrame:
    """One row for each cell and bucket of ranks: n, d, c, seed, loss, bucket, nll, exact, token.

    `nll` is the mean of -ln p of the right answers in nats, `exact` and `token` are the shares of answers and of their tokens
    that greedy decoding gets right.

    Args:
        points: of an answered arm.
        buckets: first and last rank of each; none for tasks without ranks, which are one bucket, 0.

    Raises:
        PointsError: the points have no answers.
    """
    used = points.used
    if "answers" not in used:
        raise PointsError("The points have no column answers, which only cells of a study have that were asked.")
    rows = []
    for row in used.to_dict("records"):
        answers: Answers = row["answers"]
        nll, exact, token = answers.nll, answers.is_exact, answers.token_accuracy
        for i, (first, last) in enumerate(buckets or ((0, 0),)):
            inside = (answers.rank >= first) & (answers.rank <= last) if buckets else np.ones(len(nll), dtype=bool)
            if inside.any():
                cell = {name: row[name] for name in ("n", "d", "c", "loss")}
                metrics = {"nll": nll[inside].mean(), "exact": exact[inside].mean(), "token": token[inside].mean()}
                rows.append({**cell, "seed": int(row.get("seed", 0)), "bucket": i, **metrics})
    return pd.DataFrame(rows).sort_values(["bucket", "n", "seed", "d"], ignore_index=True)


def appearing(table: pd.DataFrame) -> list[tuple[int, float]]:
    """(bucket, n) of the ladders on which exact match is absent at first and appears, and -ln p falls; means over seeds."""
    found = []
    for (bucket, n), rows in groups(table, ["bucket", "n"]):
        means = rows.groupby("d")[["exact", "nll"]].mean()
        first, last = means.iloc[0], means.iloc[-1]
        if first["exact"] <= ABSENT and last["exact"] - first["exact"] >= APPEARS and last["nll"] < first["nll"]:
            found.append((int(bucket), n))
    return found


def steadiness(table: pd.DataFrame, shown: Sequence[tuple[int, float]]) -> list[Steadiness]:
    """For each run (size and seed) its ladders of `appearing` abilities, as sums of least squares.

    Let u, e and x be the shares of a ladder's whole gain in -ln p, in exact match and in ln C that each of its steps makes. In
    u = s x + (1 - s) e, s = 1 is progress that is steady in ln C whatever exact match does, and s = 0 is progress that comes
    when exact match jumps. Least squares gives s = sum (u - e)(x - e) / sum (x - e)^2, in which the noise of e would pull s
    toward 1, as it stands in both factors: the second one is therefore taken from the other seeds of the size (an instrument,
    as in Angrist & Krueger 1995, JBES 13, 225). A ladder weighs as the square of its gain in exact match, by which the noise of
    e is divided.

    Args:
        table: of `abilities`.
        shown: the ladders of `appearing`.
    """
    found: dict[tuple[float, int], tuple[float, float]] = {}
    for (bucket, n), ladders in groups(table, ["bucket", "n"]):
        if (bucket, n) not in shown:
            continue
        first, second = {}, {}
        means = ladders.groupby("d")["exact"].mean()
        gain = float(means.iloc[-1] - means.iloc[0])
        for (seed,), rows in groups(ladders, ["seed"]):
            rises = (-rows["nll"].to_numpy(), rows["exact"].to_numpy(), np.log(rows["c"].to_numpy()))
            if all(rise[-1] > rise[0] for rise in rises):
                u, e, x = (np.diff(rise) / (rise[-1] - rise[0]) for rise in rises)
                first[int(seed)], second[int(seed)] = gain * (u - e), gain * (x - e)
        for seed, of_progress in first.items():
            others = [one for other, one in second.items() if other != seed and len(one) == len(of_progress)]
            if others:
                mean = np.mean(others, axis=0)
                over, under = found.get((n, seed), (0.0, 0.0))
                found[n, seed] = over + float(of_progress @ mean), under + float(second[seed] @ mean)
    return [Steadiness(n, seed, over, under) for (n, seed), (over, under) in found.items()]


def groups(table: pd.DataFrame, by: list[str]) -> Iterator[tuple[tuple[float, ...], pd.DataFrame]]:
    """Groups of equal numbers, with the numbers, whose types pandas does not know."""
    for key, rows in table.groupby(by):
        assert isinstance(key, tuple)
        yield tuple(map(float, np.asarray(key, dtype=np.float64))), rows


def mixed_group(table: pd.DataFrame, success: float = 0.5, has_earlier: bool = False) -> pd.DataFrame:
    """The rows of the size and budget at which the share of seeds that succeed is nearest one half; the smaller size of equals.

    Args:
        table: of one bucket.
        success: exact match above which a seed has the ability.
        has_earlier: leave out the smallest budget.
    """
    rows = table[table["d"] > table["d"].min()] if has_earlier else table
    return min(
        (own for _, own in groups(rows, ["n", "d"])), key=lambda group: abs(float((group["exact"] > success).mean()) - 0.5)
    )


def drawn_answers(nll: FloatArray, is_exact: FloatArray, tokens: int, alphabet: int, rank: IntArray | None = None) -> Answers:
    """Answers with these -ln p in equal parts over their tokens, for simulated tables.

    A wrong one has half of its tokens right.

    Args:
        nll: shape (problems,).
        is_exact: whether greedy decoding is right, shape (problems,).
        tokens: of an answer.
        alphabet: of its tokens.
        rank: shape (problems,); none: 0.
    """
    problems = len(nll)
    log_p = np.repeat(-np.asarray(nll, dtype=np.float64)[:, None] / tokens, tokens, axis=1)
    is_top = np.asarray(is_exact, dtype=bool)[:, None] | (np.arange(tokens) >= math.ceil(tokens / 2))
    ranks = np.zeros(problems, dtype=np.int64) if rank is None else rank
    return Answers(log_p, is_top, ranks, float(alphabet) ** -tokens)
