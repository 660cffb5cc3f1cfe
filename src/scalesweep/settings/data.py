"""What is trained on: a source of text and its tokenizer."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from scalesweep.settings.base import Count, Seed, Spec

PLACES = 1000
"""Windows among which a mixture keeps its weights exactly. A judgement: weights are held to .1 %, and a block of so many
windows is far below a budget that a law is fitted to."""


class TokenizerSpec(Spec):
    """How text becomes tokens."""

    kind: Literal["bytes", "bpe", "hub", "none"]
    """bytes: 256 byte values and an end-of-document token. bpe: byte-level BPE of the corpus. hub: a ready tokenizer. none: for
    sources that give tokens themselves (markov, zipf_facts)."""
    vocab_size: Annotated[int, Field(ge=257, le=2**31)] | None = None
    """Vocabulary of a trained BPE."""
    name: str | None = None
    """Hub name or local file (tokenizer.json) of a ready tokenizer."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "bpe" and self.vocab_size is None:
            raise ValueError("kind=bpe needs vocab_size, for example 512")
        if self.kind == "hub" and self.name is None:
            raise ValueError("kind=hub needs name, for example gpt2 or a path to tokenizer.json")
        return self


class TransformSpec(Spec):
    """A change of the training text whose effect is known beforehand, as a control; the validation text stays as it is."""

    kind: Literal["junk_constant", "junk_uniform", "duplicate", "drop", "words", "characters"]
    """Of windows of `model.context` tokens. junk_constant, junk_uniform: they become one id, or ids drawn at random. duplicate:
    copies of others. drop: they are not visited. Of text: words of a document change places, characters become letters."""
    share: Annotated[float, Field(gt=0, le=1)]
    """Share of the windows, words or characters that is changed, q: exactly round(q n) of n."""
    seed: Seed = 0
    """Seed of their choice, and of random ids and letters."""

    @property
    def is_of_text(self) -> bool:
        """Whether it is of text, and so a part of the corpus; one of windows is a part of the cell."""
        return self.kind in ("words", "characters")

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.share == 1 and self.kind in ("duplicate", "drop"):
            raise ValueError(f"share = 1: kind={self.kind} must leave some windows as they are; give less than 1")
        return self


class TextSpec(Spec):
    """A text and its split."""

    source: Literal["python", "enwik8", "files", "hub", "markov", "zipf_facts", "mix"]
    """python: source text of the running environment. enwik8: 10^8 bytes of Wikipedia. files: local files. hub: a data set.
    markov and zipf_facts: drawn tokens whose entropy is known exactly. mix: several texts by weight."""
    content: Literal["code", "prose"] = "code"
    """python only: whole source files, or only their docstrings and comments."""
    paths: tuple[str, ...] = ()
    """files only: globs of .txt, .jsonl or .parquet files."""
    name: str | None = None
    """hub only: data set name."""
    subset: str | None = None
    """hub only: configuration of the data set."""
    split: str = "train"
    """hub only: split."""
    revision: str | None = None
    """hub only: commit or tag."""
    streaming: bool = True
    """hub only: read without downloading the whole data set."""
    column: str = "text"
    """jsonl, parquet and hub: the column that holds the text."""
    max_bytes: Count | None = None
    """Text read at most, in UTF-8 bytes."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of the text that is held out, by document; of drawn tokens, the share that is drawn apart."""

    def check_source(self) -> None:
        """Raise ValueError for a source that lacks what it needs."""
        if self.source == "files" and not self.paths:
            raise ValueError("source=files needs paths, for example data.paths=['texts/*.txt']")
        if self.source == "hub" and not self.name:
            raise ValueError("source=hub needs name, for example data.name=roneneldan/TinyStories")


class PartSpec(TextSpec):
    """One text of a mixture."""

    weight: PositiveFloat
    """Share of the training windows, in any unit: those of all parts make the whole."""

    @model_validator(mode="after")
    def _is_text(self) -> Self:
        if self.source in ("mix", "markov", "zipf_facts"):
            why = "a mixture in a mixture" if self.source == "mix" else "drawn tokens, no text"
            raise ValueError(f"data={self.source} is {why}: a part is python, enwik8, files or hub")
        self.check_source()
        return self


class DataSpec(TextSpec):
    """A corpus, its tokenizer and its split."""

    parts: tuple[PartSpec, ...] = ()
    """mix only: the texts, each with an option of this group as `data`, its settings, and a weight."""
    max_tokens: Annotated[Count, Field(ge=1000)] = 8_000_000
    """markov and zipf_facts only: tokens that are drawn, held-out ones included."""
    seed: Seed = 0
    """Seed of the windows that `unique_tokens` leaves; of markov and zipf_facts also of the source and its streams."""
    unique_tokens: Count | None = None
    """U: distinct training tokens that a cell may visit, rounded down to windows of `model.context`, which `data.seed` draws
    from the whole training stream; budgets above it are further epochs. Null is all of the stream."""
    transform: TransformSpec | None = None
    """A change of known effect, such as {kind: drop, share: 0.25}, after the choice of `unique_tokens`; null is none."""
    alphabet: Annotated[int, Field(ge=2, le=64)] = 16
    """markov only: number of symbols, V; the chain has V^2 states."""
    keys: Annotated[Count, Field(ge=2, le=10**8)] = 1_000_000
    """zipf_facts only: number of keys, K. Far fewer than 1M cut the power law off early."""
    zipf_alpha: PositiveFloat = 0.5
    """zipf_facts only: keys have p_k proportional to k^-(1 + zipf_alpha), which is the exponent of facts held; that of records
    seen is zipf_alpha / (1 + zipf_alpha)."""
    values: Annotated[int, Field(ge=2, le=2**16)] = 256
    """zipf_facts only: number of values, V_v."""
    tokenizer: TokenizerSpec
    cache: str | None = None
    """Directory of prepared corpora; by default the user's cache directory."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self.check_source()
        if bool(self.parts) != (self.source == "mix"):
            example = "data.parts=[{data: files, paths: [mine.txt], weight: 3}, {data: python, weight: 1}]"
            raise ValueError(f"data=mix needs parts, and only it has any, for example {example}")
        if self.parts and (self.paths or self.name or self.max_bytes):
            raise ValueError("paths, name and max_bytes are of the parts of a mixture: set them in data.parts")
        total = sum(part.weight for part in self.parts)
        if self.parts and (least := min(part.weight for part in self.parts)) * PLACES < total:
            raise ValueError(f"weight = {least:g} of {total:g} is below 1 in {PLACES:,}, to which weights are kept")
        if self.transform is not None and self.transform.is_of_text and self.is_drawn:
            raise ValueError(f"transform.kind = {self.transform.kind} is of text, and data={self.source} has none")
        if self.is_drawn != (self.tokenizer.kind == "none"):
            allowed = "none" if self.is_drawn else "bytes, bpe or hub"
            raise ValueError(f"source={self.source} needs tokenizer.kind={allowed}, not {self.tokenizer.kind}")
        return self

    @property
    def is_drawn(self) -> bool:
        """Whether the source gives tokens of known entropy instead of text."""
        return self.source in ("markov", "zipf_facts")
