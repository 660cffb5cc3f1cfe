"""What is trained on: a source of text and its tokenizer."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from scalesweep.settings.base import Count, Seed, Spec


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


SetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
"""Name of a validation set, of which files and columns are called."""


class DataSpec(Spec):
    """A corpus, its tokenizer and its split."""

    source: Literal["python", "enwik8", "files", "hub", "markov", "zipf_facts"]
    """python: source text of the running environment. enwik8: 10^8 bytes of Wikipedia. files: local files. hub: a data set.
    markov and zipf_facts: drawn tokens whose entropy is known exactly."""
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
    max_tokens: Annotated[Count, Field(ge=1000)] = 8_000_000
    """markov and zipf_facts only: tokens that are drawn, held-out ones included."""
    seed: Seed = 0
    """markov and zipf_facts only: seed of the source and of its streams."""
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
    validation: Annotated[dict[SetName, "DataSpec | None"], BeforeValidator(lambda value: value or {})] = Field(
        default_factory=dict
    )
    """Validation sets of one's own, the same for every arm: a path, an option of data, or a table of named ones, of which the
    first is L and the others are measured beside it. `own` is the share that validation_fraction holds out."""
    cache: str | None = None
    """Directory of prepared corpora; by default the user's cache directory."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source == "files" and not self.paths:
            raise ValueError("source=files needs paths, for example data.paths=['texts/*.txt']")
        if self.source == "hub" and not self.name:
            raise ValueError("source=hub needs name, for example data.name=roneneldan/TinyStories")
        if self.is_drawn != (self.tokenizer.kind == "none"):
            allowed = "none" if self.is_drawn else "bytes, bpe or hub"
            raise ValueError(f"source={self.source} needs tokenizer.kind={allowed}, not {self.tokenizer.kind}")
        if self.validation and self.tokenizer.kind == "none":
            raise ValueError(f"validation is of text, and source={self.source} gives tokens that no tokenizer makes")
        for name, text in self.validation.items():
            if text is not None and (text.tokenizer.kind != "bytes" or text.validation):
                raise ValueError(f"validation.{name} is a text, without a tokenizer and a validation set of its own")
        return self

    @property
    def is_drawn(self) -> bool:
        """Whether the source gives tokens of known entropy instead of text."""
        return self.source in ("markov", "zipf_facts")
