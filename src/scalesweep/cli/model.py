"""`scalesweep model`: a trained cell as a directory for transformers."""

from collections.abc import Sequence
from pathlib import Path

from scalesweep.errors import EXIT_OK, SpecError, StoreError, did_you_mean
from scalesweep.plan.cell import Cell
from scalesweep.run.store.store import Store
from scalesweep.settings.compose import is_setting
from scalesweep.train.data.corpus import open_corpus
from scalesweep.train.data.export import export_tokenizer


def model(arguments: Sequence[str]) -> int:
    """Save a cell's trained model and the tokenizer of its corpus."""
    directory, key, place = _read(arguments)
    store = Store(directory)
    cell = _cell(store, key)
    weights = store.weights(key)
    if not weights.is_file():
        raise StoreError(_no_weights(store, key))
    to = Path(place).expanduser() if place else directory / "models" / key
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise StoreError(f"to={to} is there already and not an empty directory; choose another place with to=....")
    corpus = open_corpus(Path(store.plan_file.content()["facts"]["corpus_directory"]))
    from scalesweep.train.model.export import export_model, load_weights

    try:
        export_model(load_weights(weights), cell, to, corpus.eod_id)
        has_tokenizer = export_tokenizer(corpus, to, cell.shape.context)
    except OSError as error:
        raise StoreError(f"{to} cannot be written: {error.strerror}; choose another place with to=....") from None
    with_it = "with its tokenizer" if has_tokenizer else "without a tokenizer, as its tokens are drawn and not text"
    print(f"{to}: {key}, {with_it}; transformers.AutoModelForCausalLM.from_pretrained({str(to)!r}) opens it.")
    return EXIT_OK


def _read(arguments: Sequence[str]) -> tuple[Path, str, str | None]:
    """The sweep's directory, the cell's key, and where to save."""
    words = [word for word in arguments if not is_setting(word)]
    options = dict(word.split("=", 1) for word in arguments if is_setting(word))
    if len(words) != 2 or set(options) - {"to"}:
        raise SpecError("model takes a directory and the key of a cell, such as: scalesweep model runs/demo KEY to=my_model.")
    return Path(words[0]), words[1], options.get("to")


def _cell(store: Store, key: str) -> Cell:
    cells = {cell.key: cell for cell in store.plan_file.plan().cells}
    if key not in cells:
        raise StoreError(
            f"{key!r} is not a cell of {store.directory}{did_you_mean(key, cells)}; see: scalesweep status {store.directory}"
        )
    return cells[key]


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
