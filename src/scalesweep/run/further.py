"""Losses on further validation sets of cells that were measured without them, from their kept weights."""

from collections.abc import Callable, Sequence

from scalesweep.plan.cell import Cell
from scalesweep.run.corpora import open_corpora
from scalesweep.run.record import further_loss
from scalesweep.run.store.store import Store
from scalesweep.train.device import prepare_device
from scalesweep.train.evaluate import evaluate, further_windows
from scalesweep.train.gradient import autocast_of
from scalesweep.train.model.export import load_model


def evaluate_kept(store: Store, cells: Sequence[tuple[Cell, str]], device: str, say: Callable[[str], None]) -> None:
    """Evaluate cells with kept weights on sets that their records lack, and keep the losses beside the records.

    Args:
        store: the sweep.
        cells: pairs of a cell and the name of a set.
        device: cpu or cuda, as the cells were trained.
        say: takes lines on what is being done.
    """
    where, corpora = prepare_device(device), open_corpora(store, say)
    for cell, name in cells:
        opened = corpora[cell.corpus_hash]
        model = load_model(cell, store.weights(cell.key)).to(where)
        (loss,) = evaluate(model, further_windows(opened.further[name], cell), autocast_of(cell, where))
        store.write_further(cell.key, name, further_loss(loss, opened.sets[name], cell))
