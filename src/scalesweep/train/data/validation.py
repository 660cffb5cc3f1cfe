"""The held-out text of a corpus, apart from its tokenizer."""

import json

from scalesweep.train.data.corpus import Corpus
from scalesweep.train.data.sources import digest


def validation_text(corpus: Corpus) -> str:
    """Twelve hex digits that are equal for corpora with the same held-out text, however it is tokenized.

    Of a corpus that holds out a share of its own, they are of the whole text and of the rule by which it was split.
    """
    stated = json.loads((corpus.directory / "corpus.json").read_text(encoding="utf-8"))
    hashes = stated["sha256"]
    if "text" not in hashes:  # drawn tokens
        return digest(hashes["validation"])[:12]
    return digest(hashes["text"], stated["split"]["rule"])[:12]
