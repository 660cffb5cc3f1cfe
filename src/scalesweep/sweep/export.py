"""A trained cell as a directory that transformers opens."""

from collections.abc import Callable
from pathlib import Path

from scalesweep.errors import DataError, StoreError, did_you_mean
from scalesweep.files import plain_write_errors
from scalesweep.packages import require_measuring
from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import ModuleShape
from scalesweep.run.store.stated import stated_corpora
from scalesweep.run.store.store import Store
from scalesweep.settings.data import DataSpec
from scalesweep.train.data.corpus import Corpus, find_corpus
from scalesweep.train.data.export import export_tokenizer
from scalesweep.train.data.validation import prepare_with_sets


def export_cell(store: Store, key: str, to: Path, say: Callable[[str], None] = lambda _: None) -> bool:
    """Save the trained model of a cell and the tokenizer of its corpus; whether there is a tokenizer.

    Args:
        store: the sweep.
        key: the cell.
        to: where to save them; a new or empty directory.
        say: takes a line where the corpus must be prepared anew, which may take long.

    Raises:
        StoreError: there is no such cell, its weights were not kept, its corpus is gone, or `to` is not empty or cannot be
            written.
        SpecError: torch is not installed.
    """
    cells = {cell.key: cell for cell in store.plan_file.plan().cells}
    if key not in cells:
        raise StoreError(
            f"{key!r} is not a cell of {store.directory}{did_you_mean(key, cells)}; see: scalesweep status {store.directory}"
        )
    shape = cells[key].shape
    if isinstance(shape, ModuleShape) and shape.is_custom:
        raise StoreError(
            f"cell {key} is a model of {shape.architecture}, which transformers does not know; its weights are "
            f"{store.weights(key)} where train.keep_weights=true has kept them."
        )
    weights = store.weights(key)
    if not weights.is_file():
        raise StoreError(_no_weights(store, key))
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise StoreError(f"to={to} is there already and not an empty directory; choose another place with to=....")
    require_measuring()
    cell = cells[key]
    corpus = _corpus(store, cell, say)
    from scalesweep.train.model.export import export_model, load_weights

    with plain_write_errors(to, "choose another place with to=...."):
        export_model(load_weights(weights), cell, to, corpus.eod_id)
        return export_tokenizer(corpus, to, cell.shape.context)


def _corpus(store: Store, cell: Cell, say: Callable[[str], None]) -> Corpus:
    """The corpus of the cell, where it was prepared or in a cache of today, else prepared anew."""
    planned = stated_corpora(store.plan_file.content()["facts"])[cell.corpus_hash]
    stated = Path(planned.directory)
    spec = store.plan_file.settings().data if planned.data is None else DataSpec.model_validate(planned.data)
    if (found := find_corpus(stated, cell.corpus_hash, spec)) is not None:
        return found
    gone = f"the corpus of cell {cell.key}, {cell.corpus} ({cell.corpus_hash}), is not in {stated} any more"
    remedy = "if its cache was moved, set SCALESWEEP_CACHE to where it is now"
    say(f"{gone}; {remedy}. It is prepared anew.")
    try:
        corpus, _ = prepare_with_sets(spec, say)
    except DataError as error:
        raise StoreError(f"{gone}, and cannot be prepared anew: {error} Else, {remedy}.") from None
    if corpus.hash != cell.corpus_hash:
        raise StoreError(f"{gone}, and prepared anew its text is another ({corpus.hash}); {remedy}.")
    return corpus


def _no_weights(store: Store, key: str) -> str:
    """Why there are none, and what to do."""
    state = store.state(key)
    if state == "DIVERGED":
        return f"cell {key} diverged, so that no weights of it were kept."
    if state != "COMPLETE":
        return f"cell {key} is not measured yet ({state}); measure it with train.keep_weights=true."
    return (
        f"the weights of cell {key} were not kept; measure it again with train.keep_weights=true in another directory "
        "(dir=...)."
    )
