"""Answers of a cell beside its record: a table of them in probe-NAME.npz, and in probe-NAME.json its summary and checksum.

They are a function of the weights and the problems, and so no part of the cell's key. The summary is written last: without it,
or with another checksum or other problems in it, the table is as if it were not there, and the cell is asked anew.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from scalesweep.files import Damaged, digest, read_bytes, read_json, sealed, set_aside, sibling, write_text
from scalesweep.points.answers import Answers
from scalesweep.run.store.contents import cell_dir
from scalesweep.run.store.schema import SCHEMA


def write_answers(directory: Path, key: str, name: str, answers: Answers, problems: str, where: dict[str, Any]) -> None:
    """Replace the answers of a cell to a problem set.

    Args:
        directory: of the sweep.
        key: of the cell.
        name: of the problem set.
        answers: log-probabilities are kept in float32, whose 7 digits are those of the model's products.
        problems: digest of the problem set.
        where: device and versions that gave them.
    """
    table, summary = _files(directory, key, name)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        log_p=answers.log_p.astype(np.float32),
        is_top=answers.is_top,
        rank=answers.rank.astype(np.int32),
        chance=np.float64(answers.chance),
    )
    with sibling(table, buffer.getvalue()) as temporary:
        temporary.replace(table)
    found = {
        "problems": len(answers.rank),
        "answer_tokens": answers.log_p.shape[1],
        "chance": answers.chance,
        "nll": float(answers.nll.mean()),
        "exact": float(answers.is_exact.mean()),
        "token_accuracy": float(answers.token_accuracy.mean()),
        "pass_at_1": float(answers.pass_at(np.ones(1))[0]),
    }
    stated = {"schema": SCHEMA, "asked": problems, "answers": digest(buffer.getvalue()), **found, "where": where}
    write_text(summary, sealed(stated))


def read_answers(directory: Path, key: str, name: str, problems: str | None = None) -> Answers | None:
    """The answers of a cell to a problem set; None where there are none, or they were damaged and are set aside.

    Args:
        directory: of the sweep.
        key: of the cell.
        name: of the problem set.
        problems: digest of what is asked now; answers to anything else are none.
    """
    table, summary = _files(directory, key, name)
    try:
        stated, content = read_json(summary, sealed_only=True), read_bytes(table)
    except FileNotFoundError:
        return None
    except Damaged as error:
        set_aside(summary, error)
        return None
    if digest(content) != stated.get("answers"):
        set_aside(table, Damaged(f"{table} is damaged (its checksum is wrong)"))
        return None
    if problems not in (None, stated["asked"]):
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as kept:
        log_p, rank = kept["log_p"].astype(np.float64), kept["rank"].astype(np.int64)
        return Answers(log_p, kept["is_top"], rank, float(kept["chance"]))


def _files(directory: Path, key: str, name: str) -> tuple[Path, Path]:
    """The table and its summary."""
    place = cell_dir(directory, key)
    return place / f"probe-{name}.npz", place / f"probe-{name}.json"
