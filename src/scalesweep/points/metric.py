"""What the loss column holds, what is fitted of it, and what its numbers are called.

Laws describe something that falls with scale towards a floor. A perplexity is the exponential of such a thing, an accuracy one
minus it; so each metric says how its values are turned before they are fitted:

    nats_per_token, bits_per_token,          fitted as they are: cross-entropy in another unit, with the same exponents
    nats_per_byte, bits_per_byte
    perplexity       its logarithm, which is the cross-entropy in nats per token
    error_rate       as it is, a share (Hestness et al. 2017, arXiv 1712.00409; Rosenfeld et al. 2020, arXiv 1909.12673)
    accuracy         1 - accuracy, the error rate
    pass_at_k        -ln of the pass rate (OpenAI 2023, arXiv 2303.08774, section 3.2)
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import BoolArray, FloatArray
from scalesweep.counting import LossMetric
from scalesweep.errors import SpecError

METRIC_COLUMN = "loss_metric"
"""Column of an exported table that holds the value of `count.loss` of its losses."""
_RANDOM_GUESS = math.log(1e6)
"""Nats per token of a uniform guess among a million tokens, more than any tokenizer has; a trained model is below."""


@dataclass(frozen=True)
class Metric:
    """One kind of loss."""

    name: LossMetric
    """The value of `count.loss`."""
    noun: str
    """What is fitted, as in "the loss"."""
    unit: str
    """Of what is fitted, in words: "nats per token"."""
    short: str
    """What stands in brackets beside an axis: "nats/token"."""
    gain: float
    """A step worth paying for, of which the cost is shown."""
    gain_words: str
    """That step in words: "0.1 nat"."""
    turned: str = ""
    """What was done to the table's values before they are fitted; empty where nothing was."""
    is_share: bool = False
    """Whether the table's values are shares, from 0 to 1 or in percent."""
    turn: Callable[[FloatArray], FloatArray] = lambda values: values
    """From the table's values (shares from 0 to 1) to what is fitted."""
    slope: Callable[[FloatArray], FloatArray] = np.ones_like
    """The size of that function's derivative, by which standard errors are turned."""
    allowed: str = "a positive number"
    """What the table's values must be, in words."""

    def holds(self, values: FloatArray) -> BoolArray:
        """Which of a table's values can be ones of this metric; of shares, after percent were turned."""
        return np.asarray((values >= 0) & (values <= 1) if self.is_share else values > 0)

    @property
    def title(self) -> str:
        """The name in words: bits per byte."""
        return self.name.replace("_", " ")

    @property
    def is_cross_entropy(self) -> bool:
        """Whether it is that of text, in whatever unit, so that exponents are those in nats per token."""
        return self.noun in ("loss", "log perplexity")

    @property
    def symbol(self) -> str:
        """Noun and unit, as an axis or a heading has them."""
        return f"{self.noun} ({self.short})" if self.short else self.noun

    @property
    def phrase(self) -> str:
        """Noun and unit in a sentence."""
        return f"{self.noun}, {self.unit}" if self.unit else self.noun

    @property
    def one(self) -> str:
        """One of the unit: "1 nat per token"."""
        return f"1 {self.unit.replace('nats', 'nat').replace('bits', 'bit')}".strip()

    def by(self, value: str) -> str:
        """A written difference of losses with its unit: "0.01 nats"."""
        return f"{value} {self.unit.split(' ')[0]}".strip()

    def of(self, value: str) -> str:
        """A written value with its unit."""
        return f"{value} {self.unit}" if self.unit else value


NATS_PER_TOKEN = Metric("nats_per_token", "loss", "nats per token", "nats/token", 0.1, "0.1 nat")
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        NATS_PER_TOKEN,
        Metric("bits_per_token", "loss", "bits per token", "bits/token", 0.1, "0.1 bit"),
        Metric("nats_per_byte", "loss", "nats per byte", "nats/byte", 0.02, "0.02 nat"),
        Metric("bits_per_byte", "loss", "bits per byte", "bits/byte", 0.03, "0.03 bit"),
        Metric(
            *("perplexity", "log perplexity", "nats per token", "nats/token", 0.1, "0.1 nat"),
            turned="the natural logarithm of the perplexity is fitted",
            turn=np.log,
            slope=lambda values: 1 / values,
            allowed="a number above 1",
        ),
        Metric("error_rate", "error rate", "", "", 0.01, "0.01 of the error rate", is_share=True, allowed="a share above 0"),
        Metric(
            *("accuracy", "error rate", "", "", 0.01, "0.01 of the error rate"),
            turned="it grows with scale, so the error rate, 1 - accuracy, is fitted",
            is_share=True,
            turn=lambda values: 1 - values,
            allowed="a share from 0 to below 1",
        ),
        Metric(
            *("pass_at_k", "-ln pass rate", "", "", 0.1, "0.1 of -ln pass rate"),
            turned="it grows with scale, so -ln of the pass rate is fitted",
            is_share=True,
            turn=lambda values: -np.log(values),
            slope=lambda values: 1 / values,
            allowed="a share above 0 and below 1",
        ),
    )
}
"""Every metric by its name. The gains are about a tenth of a nat per token, at 4 bytes a token, or one answer in a hundred."""
MEASURED: tuple[LossMetric, ...] = ("nats_per_token", "bits_per_token", "nats_per_byte", "bits_per_byte", "perplexity")
"""What can be said of a cross-entropy in nats per token; the last two of bytes need the bytes of a token."""
_WORDS: tuple[tuple[LossMetric, str], ...] = (
    ("bits_per_byte", r"bpb|bits per byte|bits byte"),
    ("nats_per_byte", r"nats per byte"),
    ("bits_per_token", r"bpt|bits per token|bits token|bits"),
    ("nats_per_token", r"nats per token|nats token|nats"),
    ("perplexity", r"ppl|perplexity|perplexities"),
    ("pass_at_k", r"pass ?(at|@|rate) ?\w*|pass\d+"),
    ("accuracy", r"acc|acc norm|accuracy|top ?1|exact match"),
    ("error_rate", r"err|error|error rate|wer|cer"),
)
"""Words of a header that name a metric, the more special ones first."""


def metric_of_header(header: str) -> Metric | None:
    """The metric that a column's name states, such as val_bpb, eval/ppl or "accuracy (%)"; None where it states none."""
    apart = re.findall(r"[a-z0-9@]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", header).lower())
    words = f" {' '.join(apart)} "
    return next((METRICS[name] for name, pattern in _WORDS if re.search(rf" ({pattern}) ", words)), None)


def rate_from_nats(name: LossMetric, bytes_per_token: float | None) -> float:
    """By what a cross-entropy in nats per token is multiplied to be fitted as this metric, one of `MEASURED`.

    Raises:
        SpecError: the metric is another, or is one of bytes and the bytes of a token are not known.
    """
    if name not in MEASURED:
        raise SpecError(f"count.loss = {name!r}: a sweep measures cross-entropy; choose one of {', '.join(MEASURED)}.")
    if name.endswith("_byte") and not bytes_per_token:
        raise SpecError(f"count.loss = {name!r}: these records do not hold the bytes of a token; choose bits_per_token.")
    nats = bytes_per_token if bytes_per_token and name.endswith("_byte") else 1.0
    return 1 / (nats * math.log(2)) if name.startswith("bits") else 1 / nats


def find_headers(columns: Iterable[str]) -> list[str]:
    """Columns whose names state a metric and no error of one, for tables without a column that is called a loss."""
    return [column for column in columns if metric_of_header(column) and not re.search(r"(?i)std|se$|stderr|train", column)]


def doubt(values: FloatArray, rank_with_scale: float) -> str:
    """What losses whose unit nobody stated may be instead of nats per token, in a sentence; empty where they may be nats.

    Args:
        values: of the used rows, shape (rows,).
        rank_with_scale: Spearman's correlation of the values with N D.
    """
    if (middle := float(np.median(values))) > _RANDOM_GUESS:
        return (
            f"Half of the losses are {middle:.4g} or more, worse than guessing among a million tokens "
            f"({_RANDOM_GUESS:.1f} nats): if they are perplexities, say count.loss=perplexity."
        )
    if values.max() <= 1 and rank_with_scale > 0:
        return (
            f"The losses lie between {values.min():.4g} and {values.max():.4g} and rise with N D (rank correlation "
            f"{rank_with_scale:.2f}): if they are accuracies, say count.loss=accuracy, or count.loss=pass_at_k."
        )
    return ""
