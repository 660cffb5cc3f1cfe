"""A trained cell as a directory that transformers opens."""

from pathlib import Path

from scalesweep.errors import StoreError, did_you_mean
from scalesweep.files import plain_write_errors
from scalesweep.plan.flops import ModuleShape
from scalesweep.run.store.store import Store
from scalesweep.train.data.corpus import open_corpus
from scalesweep.train.data.export import export_tokenizer


def export_cell(store: Store, key: str, to: Path) -> bool:
    """Save the trained model of a cell and the tokenizer of its corpus; whether there is a tokenizer.

    Raises:
        StoreError: there is no such cell, its weights were not kept, or `to` is not empty or cannot be written.
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
    cell, corpus = cells[key], open_corpus(Path(store.plan_file.content()["facts"]["corpus_directory"]))
    from scalesweep.train.model.export import export_model, load_weights

    with plain_write_errors(to, "choose another place with to=...."):
        export_model(load_weights(weights), cell, to, corpus.eod_id)
        return export_tokenizer(corpus, to, cell.shape.context)


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
