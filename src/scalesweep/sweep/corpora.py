"""The corpora of a sweep: prepared, described to the plan, and recorded in the sweep's file."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scalesweep.errors import DataError, SpecError
from scalesweep.plan.axes import data_key, data_specs, variants
from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.recipe import Scaled
from scalesweep.plan.selection import Part, Selection
from scalesweep.run.store.stated import stated_corpora
from scalesweep.settings.data import DataSpec
from scalesweep.settings.plan import ModelSpec
from scalesweep.settings.settings import Settings
from scalesweep.settings.train import OptimSpec
from scalesweep.train.data import count_windows, training_shortage, validation_shortage
from scalesweep.train.data.corpus import Corpus, open_corpus, why_temporary
from scalesweep.train.data.stated import validation_text
from scalesweep.train.data.validation import ValidationSet, prepare_with_sets


class Prepared(NamedTuple):
    """A corpus, what was asked for, and the further validation sets by its tokenizer."""

    spec: DataSpec
    corpus: Corpus
    sets: tuple[ValidationSet, ...] = ()


@dataclass(frozen=True)
class Corpora:
    """The corpora that a sweep trains on, each once."""

    by_key: Mapping[str, Prepared]
    """By `plan.axes.data_key`, in the order of the sweep's variants."""

    @property
    def by_hash(self) -> dict[str, Prepared]:
        """By the corpus's hash; of settings that make one corpus, the first."""
        found: dict[str, Prepared] = {}
        for prepared in self.by_key.values():
            found.setdefault(prepared.corpus.hash, prepared)
        return found

    @property
    def texts(self) -> dict[str, str]:
        """Validation set of one's own -> hash of its text, which is the same for every arm."""
        spec, corpus, sets = next(iter(self.by_key.values()))
        texts = [validation_text(corpus), *(one.text for one in sets)] if spec.validation else []
        return {name: text for (name, asked), text in zip(spec.validation.items(), texts, strict=True) if asked is not None}

    def facts(self, settings: Settings) -> dict[str, CorpusFacts]:
        """What a plan needs to know of each."""
        return {key: facts_of_corpus(prepared.corpus, settings, prepared.spec) for key, prepared in self.by_key.items()}

    def stated(self) -> dict[str, Any]:
        """What the sweep's file records of its surroundings."""
        return {**stated_facts(*self.by_hash.values()), **({"validation": self.texts} if self.texts else {})}

    def check(self, cells: tuple[Cell, ...]) -> None:
        """Refuse cells that their corpus is too short for.

        Raises:
            DataError: the text or a validation set has too few tokens.
            SpecError: less than two windows of validation tokens.
        """
        held = self.by_hash
        for context, tokens, hash in sorted({(c.shape.context, c.validation_tokens, c.corpus_hash) for c in cells}):
            spec, corpus, sets = held[hash]
            # A context may be an axis.
            if shortage := training_shortage(corpus.train_tokens, context, spec.max_bytes is not None):
                raise DataError(shortage)
            if (record := spec.record_tokens) and context % record:
                raise SpecError(
                    f"model.context = {context} is no whole number of records of data={spec.source}, of {record} tokens each: "
                    f"windows begin within one; set it to {-(-context // record) * record}, or another multiple of {record}."
                )
            if tokens < 2 * context:
                raise SpecError(f"train.validation_tokens = {tokens}: must be at least two windows of {context} tokens.")
            if shortage := validation_shortage(
                corpus.validation_tokens, tokens, context, spec.max_bytes is not None, spec.own_set
            ):
                raise DataError(f"{corpus.name}: {shortage}" if len(held) > 1 else shortage)
            for one in sets:
                if count_windows(one.num_tokens, context) < 2:
                    raise DataError(
                        f"data.validation.{one.name} has {one.num_tokens:,} tokens, fewer than two windows of {context}."
                    )


def prepare_corpora(settings: Settings, say: Callable[[str], None]) -> Corpora:
    """Every corpus that a variant of the sweep asks for, prepared once; what its text lost on the way is said, each time.

    Raises:
        DataError: one of them cannot be prepared.
        SpecError: an axis that is none.
    """
    if sentence := why_temporary(settings.data):
        say(sentence)
    corpora = Corpora({data_key(spec): Prepared(spec, *prepare_with_sets(spec, say)) for spec in data_specs(settings)})
    for _, corpus, _ in corpora.by_hash.values():
        if corpus.account:
            say(f"Corpus {corpus.name}: {corpus.account}.")
    return corpora


def facts_of_corpus(corpus: Corpus, settings: Settings, spec: DataSpec | None = None) -> CorpusFacts:
    """What a plan needs to know of one corpus, made by `spec`, or else by the settings' own.

    Raises:
        DataError: the training text is shorter than one window.
    """
    least = min((part.train_tokens for part in corpus.parts), default=corpus.train_tokens)
    if shortage := training_shortage(least, settings.model.context, (spec or settings.data).max_bytes is not None):
        raise DataError(f"{corpus.name}: {shortage}" if spec not in (None, settings.data) else shortage)
    parts = tuple(Part(part.train_tokens, part.places) for part in corpus.parts)
    unique = sum(Selection(parts=parts).unique_tokens(corpus.train_tokens, settings.model.context))
    return CorpusFacts(corpus.name, corpus.hash, corpus.vocab_size, unique, scaled(settings), parts, own_optimizer(settings))


def scaled(settings: Settings) -> Scaled | None:
    """What scales and counts the architectures, where a variant has one; its libraries take seconds to import."""
    if all(isinstance(variant.settings.model, ModelSpec) for variant in variants(settings)):
        return None
    from scalesweep.train.model.custom import scaled_model

    return scaled_model


def own_optimizer(settings: Settings) -> Callable[[OptimSpec], str] | None:
    """What tries an optimizer of the user's own, where a variant has one; torch takes seconds to import."""
    if all(variant.settings.optim.name != "custom" for variant in variants(settings)):
        return None
    from scalesweep.train.optim.custom import tried_optimizer

    return tried_optimizer


def stated_facts(*corpora: Prepared) -> dict[str, Any]:
    """The first corpus by name, as every version reads it, and all of them by hash."""
    first = corpora[0].corpus
    stated = {
        corpus.hash: {
            "name": corpus.name,
            "directory": str(corpus.directory),
            "data": spec.model_dump(mode="json"),
            "account": account_of(corpus),
            "validation_set": validation_text(corpus),
            **({"sets": {one.name: one.stated() for one in sets}} if sets else {}),
        }
        for spec, corpus, sets in corpora
    }
    return {**corpus_facts(first), "corpora": stated}


def corpus_facts(corpus: Corpus) -> dict[str, str]:
    """What is recorded of one corpus."""
    return {
        "corpus": corpus.name,
        "corpus_hash": corpus.hash,
        "corpus_directory": str(corpus.directory),
        "corpus_account": account_of(corpus),
    }


def account_of(corpus: Corpus) -> str:
    """What the text lost on its way to tokens, in words; empty where an older version did not count."""
    return corpus.account or ("nothing left out, replaced or cut" if corpus.reading else "")


def known_corpora(facts: Mapping[str, Any]) -> list[Corpus]:
    """Those of the sweep's corpora that are on this machine, as they were planned with."""
    found = []
    for hash, stated in stated_corpora(facts).items():
        with contextlib.suppress(DataError):
            corpus = open_corpus(Path(stated.directory))
            found += [corpus] if corpus.hash == hash else []
    return found
