"""The corpora of a sweep as a worker has them open."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scalesweep.errors import StoreError
from scalesweep.run.store.stated import stated_corpora
from scalesweep.run.store.store import Store
from scalesweep.settings.data import DataSpec
from scalesweep.train.data import prepare
from scalesweep.train.data.batches import Tokens
from scalesweep.train.data.corpus import Corpus, open_corpus


@dataclass(frozen=True, eq=False)
class OpenCorpus:
    """A corpus with both of its streams mapped, once a process: a device keeps the tokens of the array that it was given."""

    corpus: Corpus
    train: Tokens
    validation: Tokens


def open_corpora(store: Store, say: Callable[[str], None]) -> dict[str, OpenCorpus]:
    """The sweep's corpora by hash, each the one that the plan was made with; prepared anew where this machine lacks it.

    Raises:
        StoreError: the directory, or what was prepared anew, is another corpus.
        DataError: it cannot be prepared.
    """
    found = {}
    for hash, stated in stated_corpora(store.plan_file.content()["facts"]).items():
        directory = Path(stated.directory)
        if directory.is_dir():
            corpus = open_corpus(directory)
        else:
            spec = store.plan_file.settings().data if stated.data is None else DataSpec.model_validate(stated.data)
            corpus = prepare(spec, say)
        if corpus.hash != hash:
            raise StoreError(
                f"{corpus.directory} holds corpus {corpus.hash}, the sweep was planned with {hash}; "
                "prepare the corpus anew (scalesweep data) or start the sweep in another directory with dir=...."
            )
        found[hash] = OpenCorpus(corpus, corpus.train(), corpus.validation())
    return found
