"""Text to batches: sources, tokenizers, prepared corpora, and the batch of a step. numpy only; nothing here imports torch."""

from scalesweep.train.data.batches import (
    batch,
    count_windows,
    training_shortage,
    unique_tokens,
    validation_shortage,
    validation_windows,
    visited_windows,
)
from scalesweep.train.data.corpus import Corpus, cache_dir, open_corpus
from scalesweep.train.data.prepare import prepare
from scalesweep.train.data.synthetic import check_entropy

__all__ = [
    "Corpus",
    "batch",
    "cache_dir",
    "check_entropy",
    "count_windows",
    "open_corpus",
    "prepare",
    "training_shortage",
    "unique_tokens",
    "validation_shortage",
    "validation_windows",
    "visited_windows",
]
