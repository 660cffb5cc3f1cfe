"""The settings that a tuned sweep tries at every size and budget: declared values, and extensions past an end of a range.

Settings are spaced in a coordinate in which equal steps matter about equally: the logarithm of the value, and for beta1, beta2
and momentum, whose effect is through 1 / (1 - beta) steps of memory, the logarithm of 1 - beta. Everything here is a pure
function of the declared table.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from scalesweep.settings.base import Choices, Range, Seed, Spec

Side = Literal["low", "high"]
"""An end of a range in the coordinate."""
SIDES: tuple[Side, Side] = ("low", "high")
TUNED_SECTIONS = ("recipe", "optim", "train")
MAX_TRIALS = 4096
"""Settings of one size and budget at most; beyond, a slip of the pen is more likely than intent."""
MEMORIES = frozenset({"optim.beta1", "optim.beta2", "optim.momentum"})
"""Settings whose coordinate is log(1 - value)."""
Table = Annotated[dict[str, Choices], BeforeValidator(lambda value: {} if value is None else value)]


class TuneSpec(Spec):
    """Nuisance settings that are tuned at every size and budget: the laws are fitted to the loss at their optimum."""

    recipe: Table = Field(default_factory=dict)
    """Settings of the recipe with their values: LOW..HIGH:NUM (evenly spaced in the logarithm) or a list."""
    optim: Table = Field(default_factory=dict)
    """The same of the optimizer; beta1, beta2 and momentum are spaced in log(1 - beta)."""
    train: Table = Field(default_factory=dict)
    """The same of the training loop."""
    method: Literal["grid", "random", "sobol"] = "grid"
    """grid (default): every combination. random, sobol: `num` draws from ranges LOW..HIGH, independent or low-discrepancy."""
    num: Annotated[int, Field(ge=2, le=MAX_TRIALS)] | None = None
    """Settings tried at every size and budget (random and sobol)."""
    seed: Seed = 0
    """Seed of the draws."""
    extensions: Annotated[int, Field(ge=0, le=8)] = 2
    """How often a range is extended past an end at which the optimum lies, and the steps of a grid beside it are halved where
    they are too coarse, for each size and budget; by default 2."""

    @property
    def choices(self) -> dict[str, Range | tuple[float, ...]]:
        """Dotted setting -> its values."""
        return {f"{name}.{key}": value for name in TUNED_SECTIONS for key, value in getattr(self, name).items()}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        choices = self.choices
        if not choices:
            raise ValueError("names no setting; give one, such as sweep.tune.recipe.lr=1e-3..3e-2:6, or set sweep.tune=null")
        if self.method == "grid":
            if self.num is not None:
                raise ValueError(f"num = {self.num} is for method=random or sobol; a grid has its numbers in its ranges")
            for name, values in choices.items():
                if isinstance(values, Range) and values.num is None:
                    raise ValueError(f"{name} needs a number of values, such as {values.low:g}..{values.high:g}:6")
            if (size := math.prod(len(grid_values(name, values)) for name, values in choices.items())) > MAX_TRIALS:
                raise ValueError(
                    f"the grid has {size:,} settings, at most {MAX_TRIALS:,} are allowed; tune fewer, or use method=sobol"
                )
            return self
        if self.num is None:
            raise ValueError(f"method={self.method} needs num, the settings tried at every size and budget, such as num=16")
        for name, values in choices.items():
            if isinstance(values, Range) and values.num is not None:
                raise ValueError(
                    f"{name} has a number of values, which is for method=grid; write {values.low:g}..{values.high:g} and num=16"
                )
        return self


class LrLaw(Spec):
    """A law of the best learning rate, `recipe.lr` = coefficient N^n_exponent D^d_exponent, as `scalesweep fit` prints it."""

    coefficient: PositiveFloat
    """Learning rate at N = D = 1."""
    n_exponent: float = 0.0
    """Exponent of N (parameters, counted by `count.params`)."""
    d_exponent: float = 0.0
    """Exponent of D (training tokens)."""


def coordinate(setting: str, value: float) -> float:
    """log(value), or log(1 - value) for beta1, beta2 and momentum; minus infinity at 0 (1)."""
    distance = 1 - value if setting in MEMORIES else value
    return math.log(distance) if distance > 0 else -math.inf


def value_at(setting: str, position: float) -> float:
    """Inverse of `coordinate`, to six digits, so that a cell's key does not depend on the last bit of a logarithm."""
    distance = float(f"{math.exp(position):.6g}")
    return float(f"{1 - distance:.12g}") if setting in MEMORIES else distance


def ends(setting: str, choices: Range) -> tuple[float, float]:
    """Both ends of a range in the coordinate, the lower one first."""
    low, high = sorted((coordinate(setting, choices.low), coordinate(setting, choices.high)))
    return low, high


def grid_values(setting: str, choices: Range | Sequence[float]) -> list[float]:
    """The values of a grid, by increasing coordinate."""
    if not isinstance(choices, Range):
        return sorted({float(value) for value in choices}, key=lambda value: coordinate(setting, value))
    low, high = ends(setting, choices)
    num = choices.num or 2
    inner = [value_at(setting, low + (high - low) * i / (num - 1)) for i in range(1, num - 1)]
    outer = sorted((choices.low, choices.high), key=lambda value: coordinate(setting, value))
    return [outer[0], *inner, outer[1]]
