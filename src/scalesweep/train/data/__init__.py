"""Text to batches: sources, tokenizers, prepared corpora, and the batch of a step. numpy only; nothing here imports torch."""

from scalesweep.plan.selection import count_windows
from scalesweep.train.data.batches import batch, training_shortage, validation_shortage, validation_windows
from scalesweep.train.data.corpus import Corpus, cache_dir, open_corpus
from scalesweep.train.data.mix import prepare
from scalesweep.train.data.synthetic import check_entropy
from scalesweep.train.data.windows import Windows, windows_of_cell

__all__ = [
    "Corpus",
    "Windows",
    "batch",
    "cache_dir",
    "check_entropy",
    "count_windows",
    "open_corpus",
    "prepare",
    "training_shortage",
    "validation_shortage",
    "validation_windows",
    "windows_of_cell",
]
