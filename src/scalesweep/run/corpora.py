"""The corpora of a sweep as a worker has them open."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scalesweep.errors import StoreError
from scalesweep.run.store.stated import stated_corpora
from scalesweep.run.store.store import Store
from scalesweep.settings.data import DataSpec
from scalesweep.train.data.batches import Tokens
from scalesweep.train.data.corpus import Corpus, open_corpus
from scalesweep.train.data.stated import task_of
from scalesweep.train.data.tasks import ProblemSet, problem_set
from scalesweep.train.data.validation import ValidationSet, prepare_with_sets, set_from


@dataclass(frozen=True, eq=False)
class OpenCorpus:
    """A corpus with both of its streams mapped, once a process: a device keeps the tokens of the array that it was given."""

    corpus: Corpus
    train: Tokens
    validation: Tokens
    sets: Mapping[str, ValidationSet] = field(default_factory=dict)
    """Further validation sets."""
    task: DataSpec | None = None
    """The source that states its problems, where there are any."""

    def problems(self, context: int) -> ProblemSet | None:
        """What cells with this context are asked; None where the source states no problems."""
        return None if self.task is None else problem_set(self.task, context)

    @functools.cached_property
    def further(self) -> dict[str, Tokens]:
        """The streams of the further sets."""
        return {name: one.tokens() for name, one in self.sets.items()}


def open_corpora(store: Store, say: Callable[[str], None]) -> dict[str, OpenCorpus]:
    """The sweep's corpora by hash, each the one that the plan was made with; prepared anew where this machine lacks it.

    Raises:
        StoreError: the directory, or what was prepared anew, is another corpus.
        DataError: it cannot be prepared.
    """
    found = {}
    for hash, stated in stated_corpora(store.plan_file.content()["facts"]).items():
        directory = Path(stated.directory)
        sets = [set_from(name, one) for name, one in stated.sets.items()]
        if directory.is_dir() and all(one.is_there() for one in sets):
            corpus = open_corpus(directory)
        else:
            spec = store.plan_file.settings().data if stated.data is None else DataSpec.model_validate(stated.data)
            corpus, prepared = prepare_with_sets(spec, say)
            if changed := [new.name for new, one in zip(prepared, sets, strict=True) if new.text != one.text]:
                raise StoreError(f"data.validation.{changed[0]} is another text than the sweep was planned with.")
            sets = list(prepared)
        if corpus.hash != hash:
            raise StoreError(
                f"{corpus.directory} holds corpus {corpus.hash}, the sweep was planned with {hash}; "
                "prepare the corpus anew (scalesweep data) or start the sweep in another directory with dir=...."
            )
        found[hash] = OpenCorpus(corpus, corpus.train(), corpus.validation(), {one.name: one for one in sets}, task_of(corpus))
    return found
