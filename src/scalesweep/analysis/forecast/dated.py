"""A forecast as a dated, hashed value that can be filed and read again."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

from scalesweep.counting import LossMetric
from scalesweep.errors import PointsError
from scalesweep.interval import Interval
from scalesweep.points.points import Points
from scalesweep.units import format_count, format_number
from scalesweep.version import __version__

Target = Literal["model", "compute"]
FORMAT = 1
"""Version of the file."""


@dataclass(frozen=True)
class Prediction:
    """A number with its interval, in the fields of the file."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> Interval:
        """Its two ends, none of them open."""
        return Interval(self.low, self.high)

    def __str__(self) -> str:
        return f"{format_number(self.value)}  {self.interval}"


@dataclass(frozen=True)
class Origin:
    """What the forecast was made from."""

    source: str
    """Name of the points."""
    sha256: str
    """`hash_points` of them."""
    rows: int
    """Used ones."""
    params_convention: str
    flops_convention: str
    """What the points' C counts."""
    bootstrap: int
    """Resamples."""
    seed: int
    """Of the resampling."""
    huber_delta: float | None
    """Width of the Huber loss; None: from the residuals."""
    metric: LossMetric = "nats_per_token"
    """What was forecast; files of earlier versions do not say."""
    flops_per_parameter_and_token: float = 6.0
    """k of the forecast's C = k N D; files of earlier versions have none, and took 6."""


@dataclass(frozen=True)
class Forecast:
    """The loss of one model, predicted."""

    target: Target
    """Whether a model was asked for, or the best one at a compute."""
    n: float | None
    """Parameters; None where the points have compute alone."""
    d: float | None
    c: float
    """FLOPs: k N D with the origin's k, or as the points count them where they have compute alone."""
    form: Prediction
    """Loss if the preferred form holds, in the unit of the origin's metric: its value, and its interval for one new run."""
    form_name: str
    """The preferred form's name in `laws.LAWS`."""
    formula: str
    """That law with its numbers."""
    honest: Prediction | None
    """Mean of the forms, along a ray the law with a floor, with the honest interval for one new run; None where the forecast
    abstains."""
    abstention: str
    """Why there is no honest interval, in a sentence; empty where there is one."""
    forms: dict[str, float]
    """Loss by each form."""
    n_opt: Prediction | None
    """Compute-optimal parameters if the preferred form holds; None unless compute was the target."""
    d_opt: Prediction | None
    """Compute-optimal tokens if the preferred form holds."""
    n_opt_range: tuple[float, float] | None
    """Smallest and largest N* over the resamples' intervals of all forms that have one."""
    confidence: float
    """Nominal coverage of all intervals."""
    factor: float
    """How many times the measured compute (as k N D) the target is; below 1 it lies inside."""
    supported_factor: float
    """Largest such factor that the points support along the form's compute optimum, as in a report (`analysis.support`); 1:
    nothing beyond them. Files of earlier versions hold what the span of compute alone supports."""
    widening: float
    """Factor of the honest interval by the back-test of these points, over what past errors of other studies alone give: 1
    without one. Along a ray the stretch of the envelope, at least 1."""
    num_origins: int
    """Origins of that back-test."""
    origin: Origin
    """The points and the estimation."""
    reservation: str = ""
    """Of a forecast from L(C), where there is no joint law: why, and what it does not know, in sentences."""
    unique_tokens: float | None = None
    """Of d; None: all are, as in files of earlier versions."""

    def to_json(self, day: date) -> str:
        """The forecast as the text of a file: dated, with the sha256 of its content."""
        content = {"format": FORMAT, "date": day.isoformat(), "scalesweep": __version__, "forecast": asdict(self)}
        return json.dumps({**content, "sha256": _hash(content)}, indent=1, allow_nan=False) + "\n"


@dataclass(frozen=True)
class DatedForecast:
    """A forecast as it was filed."""

    forecast: Forecast
    day: date
    """The date that its maker gave."""
    sha256: str
    """Of the content."""


def read_forecast(text: str) -> DatedForecast:
    """A filed forecast from the text of its file.

    Raises:
        PointsError: it is not a forecast of this format, or its content does not have the hash that it carries.
    """
    try:
        content = json.loads(text)
        claimed = content.pop("sha256")
        if content["format"] != FORMAT:
            raise PointsError(f"the forecast has format {content['format']}, but this version reads format {FORMAT}.")
        values = dict(content["forecast"])
        day = date.fromisoformat(content["date"])
        made = _revive(values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, PointsError):
            raise
        raise PointsError(f"this is no forecast that scalesweep wrote ({error}).") from None
    if _hash(content) != claimed:
        raise PointsError(f"the forecast was altered after {day}: its content does not have the hash {claimed[:12]}.")
    return DatedForecast(made, day, claimed)


def hash_points(points: Points) -> str:
    """The sha256 of the used rows' n, d, c, loss at full precision, whatever their order."""
    columns = (points.n.tolist(), points.d.tolist(), points.c.tolist(), points.loss.tolist())
    lines = sorted(",".join(map(repr, row)) for row in zip(*columns, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _revive(values: dict[str, Any]) -> Forecast:
    for name in ("form", "honest", "n_opt", "d_opt"):
        values[name] = Prediction(**values[name]) if values[name] else None
    values["n_opt_range"] = tuple(values["n_opt_range"]) if values["n_opt_range"] else None
    values["origin"] = Origin(**values["origin"])
    return Forecast(**values)


def name_target(made: Forecast) -> str:
    """What was forecast, in words."""
    if made.target == "compute":
        return f"C = {format_number(made.c)} FLOPs"
    assert made.n is not None  # a model is asked for by its N and D
    assert made.d is not None
    unique = f", {format_count(made.unique_tokens)} of them unique" if made.unique_tokens else ""
    return f"N = {format_count(made.n)} parameters, D = {format_count(made.d)} tokens{unique}"
