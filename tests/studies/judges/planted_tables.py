"""Planted tables, and faults in them."""

import dataclasses

import numpy as np

from scalesweep.points.points import Points
from scalesweep.studies.base import Arms
from scalesweep.studies.load import Study


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
