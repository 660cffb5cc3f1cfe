"""What published studies say of scaling exponents: values with intervals, counting conventions, ranges and sources.

The values are `results.toml`. `report.review.published` sets a sweep's own values beside them; the measured points of some of
these studies are in `published`.
"""

import functools
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from scalesweep.counting import FlopsConvention, ParamsConvention

Measure = Literal[
    "by_n", "by_d", "by_c", "alpha", "beta", "E", "tokens_per_parameter", "a_envelope", "a_isoflop", "a_law", "by_c_min"
]
"""What of an analysis stands beside a value; `by_c_min`, Kaplan's C_min, has no counterpart here."""
Obtained = Literal["read", "computed", "quoted"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Result:
    """One value of one study."""

    study: str
    """Authors and year."""
    quantity: str
    """What the value is, in words and symbols."""
    measure: Measure
    """The value of an analysis that stands beside it."""
    value: float
    """The value as printed, or as computed; exponents, nats per token, or tokens per parameter."""
    params: str
    """What the study's N counts."""
    flops: str
    """What its C counts."""
    counts: tuple[ParamsConvention, FlopsConvention]
    """The conventions of this package that are nearest to both."""
    n_range: Interval
    """Smallest and largest N."""
    objective: str
    """How it was estimated."""
    source: str
    """arXiv number, and the table, equation or file."""
    obtained: Obtained
    """How the number came here."""
    interval: Interval | None = None
    """Its interval; None where none was published."""
    confidence: float | None = None
    """Nominal coverage of the interval."""
    c_range: Interval | None = None
    """Smallest and largest C, FLOPs; None where it is not known."""
    note: str = ""
    """What a reader has to know before comparing."""


@functools.cache
def published_results() -> tuple[Result, ...]:
    """All values, by study and in the order of publication."""
    content = tomllib.loads(files("scalesweep.points.published").joinpath("results.toml").read_text(encoding="utf-8"))
    return tuple(
        _result({"study": shared["name"], **{name: shared[name] for name in shared.keys() - {"name", "result"}}, **own})
        for shared in content["study"]
        for own in shared["result"]
    )


def _result(values: dict[str, Any]) -> Result:
    """A confidence that the study states is that of its intervals, and not of values without one."""
    if "interval" not in values:
        values.pop("confidence", None)
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Result(**fields)
