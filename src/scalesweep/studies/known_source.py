"""Columns of cells whose source is known: what their loss and their FLOPs can be held against."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import DecoderShape, ModelShape
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.data.synthetic import entropy_of


def source_columns(cells: Iterable[Cell], corpora: Mapping[str, Corpus]) -> dict[str, dict[str, Any]]:
    """Key of a cell -> its columns, of the cells of drawn tokens alone.

    `entropy`: nats per token below which no model ends. `unigram_entropy`: those of a model that knows how often each token is
    met and nothing of what came before, from the frequencies in the validation stream. `c_counted`: training FLOPs by torch's
    counter, where C by the convention `attention` is a formula.

    Args:
        cells: measured ones.
        corpora: by hash, of these cells.
    """
    alone: dict[str, float] = {}
    counted: dict[ModelShape, float] = {}
    found = {}
    for cell in cells:
        corpus = corpora[cell.corpus_hash]
        entropy = corpus.window_entropy(cell.shape.context)
        if entropy is None:
            continue
        if corpus.hash not in alone:
            frequencies = np.bincount(np.asarray(corpus.validation(), dtype=np.int64)).astype(np.float64)
            alone[corpus.hash] = entropy_of(frequencies / frequencies.sum())
        row: dict[str, Any] = {"entropy": entropy, "unigram_entropy": alone[corpus.hash]}
        if isinstance(cell.shape, DecoderShape):
            if cell.shape not in counted:
                from scalesweep.train.model.counted import counted_flops_per_token  # imports torch

                counted[cell.shape] = counted_flops_per_token(cell.shape)
            row["c_counted"] = cell.tokens * counted[cell.shape]
        found[cell.key] = row
    return found
