"""The trained cell that writes a corpus: its sweep's files, read and checked. What is written where: `run.store`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.errors import DataError, did_you_mean
from scalesweep.files import Damaged, read_json
from scalesweep.plan.cell import Cell, cell_from_dict
from scalesweep.plan.flops import DecoderShape
from scalesweep.settings.data import DataSpec
from scalesweep.train.data.corpus import Corpus, find_corpus


@dataclass(frozen=True)
class Teacher:
    """A decoder with kept weights, and the corpus that it was trained on."""

    sweep: Path
    cell: Cell
    shape: DecoderShape
    loss: float
    """L of its record, in nats per token."""
    weights: Path
    weights_sha256: str
    corpus: Corpus


def open_teacher(spec: DataSpec) -> Teacher:
    """The cell `data.cell` of the sweep in `data.model`.

    Raises:
        DataError: there is no such sweep or cell, it is no decoder, is not measured, its weights were not kept, its corpus is
            gone, or has another vocabulary.
    """
    sweep, key = Path(spec.model or "").expanduser().absolute(), spec.cell or ""
    content = _read(sweep / "sweep.json")
    if content is None:
        raise DataError(f"data.model={spec.model} holds no sweep (no {sweep}/sweep.json): give the directory of a sweep.")
    cell = _cell(content, key, spec)
    if not isinstance(cell.shape, DecoderShape):
        raise DataError(f"data.cell={key} is a {cell.shape.architecture}: text is sampled from cells of model=decoder only.")
    record = _read(sweep / "cells" / key / "record.json")
    if record is None or record.get("loss") is None:
        why = "is not measured yet" if record is None else "diverged, so that no weights of it were kept"
        raise DataError(f"data.cell={key} {why}: choose a complete cell (scalesweep status {spec.model}).")
    weights = sweep / "cells" / key / "model.safetensors"
    if not weights.is_file():
        raise DataError(
            f"the weights of data.cell={key} were not kept: measure it again with train.keep_weights=true in another "
            "directory (dir=...)."
        )
    directory = _corpus_directory(content["facts"], cell)
    corpus = find_corpus(directory, cell.corpus_hash, spec)
    if corpus is None:
        raise DataError(
            f"the corpus of data.cell={key}, {cell.corpus} ({cell.corpus_hash}), is not in {directory} any more: if its cache "
            "was moved, set SCALESWEEP_CACHE to where it is now; else prepare it anew (scalesweep data) as its sweep did."
        )
    if cell.shape.vocab_size != corpus.vocab_size:
        raise DataError(
            f"data.cell={key} has a vocabulary of {cell.shape.vocab_size:,} and its corpus one of {corpus.vocab_size:,}: "
            "its ids cannot be read; choose another cell."
        )
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    return Teacher(sweep, cell, cell.shape, record["loss"], weights, sha256, corpus)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Damaged as error:
        raise DataError(f"{error}: choose another sweep or cell by data.model and data.cell.") from None


def _cell(content: dict[str, Any], key: str, spec: DataSpec) -> Cell:
    cells = {values["key"]: values for values in content["cells"]}
    if key not in cells:
        raise DataError(
            f"data.cell={key} is not a cell of {spec.model}{did_you_mean(key, cells)}; see: scalesweep status {spec.model}"
        )
    try:
        cell = cell_from_dict({name: value for name, value in cells[key].items() if name != "key"})
    except (TypeError, KeyError):
        cell = None
    if cell is None or cell.key != key:
        raise DataError(f"data.cell={key} was planned by another version of scalesweep: train the cell anew with this one.")
    return cell


def _corpus_directory(facts: dict[str, Any], cell: Cell) -> Path:
    """Where the corpus was when the sweep was planned; before sweeps had several, it stood among the facts themselves."""
    several = facts.get("corpora", {}).get(cell.corpus_hash, {})
    return Path(several.get("directory", facts.get("corpus_directory", "")))
