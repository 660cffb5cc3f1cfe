"""Designs of the quick forms, without a corpus, and a share of words over simulated tables."""

import dataclasses
from collections import Counter

import numpy as np

from scalesweep.plan.grid import CorpusFacts
from scalesweep.points.points import Points
from scalesweep.studies.base import Arms, Rule, decide
from scalesweep.studies.load import NOISE, Study, load_study
from scalesweep.studies.measure import design

FACTS = CorpusFacts("design", "0" * 16, 512, 3_584_192)


def quick(name: str) -> tuple[Study, Arms]:
    """A study and the rows of its quick form, all of loss 1."""
    study = load_study(name)
    return study, design(study, "quick", FACTS)


def words(study: Study, arms: Arms, part: str, theta: float, tables: int = 20, draws: int = 60) -> Counter[str]:
    """Words of a part on simulated tables in which it is theta."""
    spec = next(one for one in study.spec.parts if one.name == part)
    drawn = (study.module.simulate(arms, part, theta, NOISE, np.random.default_rng([1, table])) for table in range(tables))
    return Counter(decide(spec, study.module.judge(one, Rule(draws)).effects[part]).word for one in drawn)


def exact(study: Study, arms: Arms, part: str, theta: float) -> Arms:
    """The planted table without noise but for the last digits, which keep copies apart."""
    return study.module.simulate(arms, part, theta, 1e-9, np.random.default_rng(0))


def with_columns(points: Points, names: tuple[str, ...]) -> Points:
    """The same rows with these columns alone, as in a user's table."""
    return dataclasses.replace(points, frame=points.frame[[*names, "excluded_reason"]])


def second_half_from(one: Points, other: Points) -> Points:
    """Seeds above the lowest take the losses of another table of the same design: a fault between seeds."""
    frame = one.frame.copy()
    above = frame["seed"] > frame["seed"].min()
    frame.loc[above, "loss"] = other.frame.loc[above, "loss"]
    return dataclasses.replace(one, frame=frame)
