"""Conventions by which N and C are counted, in words, and names of what the loss is."""

from collections.abc import Mapping
from typing import Literal

PARAMS: Mapping[str, str] = {
    "with_head": "all parameters but the input embedding",
    "total": "all parameters",
    "non_embedding": "all parameters but embedding and head",
    "matmul": "matrices of layers and head",
}
"""What N counts, by `count.params`."""
FLOPS: Mapping[str, str] = {
    "attention": "all matrices and attention's context",
    "kaplan": "the layers' matrices only",
    "six_n": "6 N D",
    "chinchilla": "every product, by appendix F of Hoffmann et al. 2022",
}
"""What C counts, by `count.flops`."""
ParamsConvention = Literal["with_head", "total", "non_embedding", "matmul"]
FlopsConvention = Literal["attention", "kaplan", "six_n", "chinchilla"]
LossMetric = Literal[
    "nats_per_token",
    "bits_per_token",
    "nats_per_byte",
    "bits_per_byte",
    "perplexity",
    "error_rate",
    "accuracy",
    "pass_at_k",
]
"""What the loss is, by `count.loss`."""


def params_in_words(convention: str) -> str:
    """What N counts; a table's own words stay as they are."""
    return PARAMS.get(convention, convention)


def flops_in_words(convention: str) -> str:
    """What C counts; a table's own words stay as they are."""
    return FLOPS.get(convention, convention)
