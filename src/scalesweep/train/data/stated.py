"""What corpus.json says of a corpus beside the fields of `Corpus`."""

import json
from typing import Any

from scalesweep.settings.data import TASKS, DataSpec
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.data.sources import digest


def stated(corpus: Corpus) -> dict[str, Any]:
    """All of corpus.json."""
    content: dict[str, Any] = json.loads((corpus.directory / "corpus.json").read_text(encoding="utf-8"))
    return content


def validation_text(corpus: Corpus) -> str:
    """Twelve hex digits that are equal for corpora with the same held-out text, however it is tokenized, but of a mixture.

    Of a corpus that holds out a share of its own, they are of the whole text and of the rule by which it was split.
    """
    content = stated(corpus)
    if "validation_text" in content:
        return str(content["validation_text"])
    hashes = content["sha256"]
    if "text" not in hashes:  # drawn or given tokens, or a mixture, whose shares are of tokens
        return digest(hashes["validation"])[:12]
    return digest(hashes["text"], content["split"]["rule"])[:12]


def task_of(corpus: Corpus) -> DataSpec | None:
    """The source whose problems a corpus states, be they drawn, or learnt and written by a cell; None where there are none."""
    content = stated(corpus)
    found = content.get("task") or content.get("spec") or {}
    return DataSpec.model_validate({**found, "tokenizer": {"kind": "none"}}) if found.get("source") in TASKS else None
