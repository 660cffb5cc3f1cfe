"""What is trained on: a source of text and its tokenizer."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from scalesweep.settings.base import Count, Seed, Spec


def _unescaped(value: object) -> object:
    """Line breaks and tabs, which a command line cannot spell otherwise."""
    return value.replace("\\n", "\n").replace("\\t", "\t") if isinstance(value, str) else value


class TokenizerSpec(Spec):
    """How text becomes tokens."""

    kind: Literal["bytes", "bpe", "hub", "sentencepiece", "tiktoken", "none"]
    """bytes: 256 byte values and an end-of-document token. bpe: byte-level BPE of the corpus. hub: a ready tokenizer of the
    library tokenizers. sentencepiece and tiktoken: of these libraries, extras of the installation. none: for
    sources that give tokens themselves (tokens, markov, zipf_facts)."""
    vocab_size: Annotated[int, Field(ge=2, le=2**31)] | None = None
    """Vocabulary of a trained BPE, 257 or more, or of source=tokens: one more than the largest id that there may be."""
    name: str | None = None
    """Of a ready tokenizer. hub: its name, local file (tokenizer.json) or directory. sentencepiece: path of a model.
    tiktoken: name of an encoding."""
    eod: Annotated[str, Field(min_length=1)] | None = None
    """Of a ready tokenizer: the token that ends a document, such as '</s>'; by default the one it declares or usually has."""
    max_lost: Annotated[float, Field(ge=0, le=1)] = 0.001
    """Share of the characters of a sample that may not come back from their tokens, and of tokens that may be the unknown one.
    Bits per byte are too low by about that share: 0.001, a judgement, is small beside the noise of a run, some 0.003."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "bpe" and self.vocab_size is None:
            raise ValueError("kind=bpe needs vocab_size, for example 512")
        if self.kind == "bpe" and (self.vocab_size or 0) < 257:
            raise ValueError(
                f"vocab_size = {self.vocab_size}: kind=bpe needs 257 or more, the 256 bytes and the end of a document"
            )
        examples = {"hub": "gpt2 or a path to tokenizer.json", "sentencepiece": "a path to m.model", "tiktoken": "cl100k_base"}
        if self.kind in examples and self.name is None:
            raise ValueError(f"kind={self.kind} needs name, for example {examples[self.kind]}")
        if self.kind not in examples and self.eod is not None:
            raise ValueError(f"eod = {self.eod!r} is of a ready tokenizer; kind={self.kind} has its own")
        return self


SetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
"""Name of a validation set, of which files and columns are called."""


class DataSpec(Spec):
    """A corpus, its tokenizer and its split."""

    source: Literal["python", "enwik8", "files", "hub", "tokens", "markov", "zipf_facts"]
    """python: source text of the running environment. enwik8: 10^8 bytes of Wikipedia. files: local files. hub: a data set.
    tokens: local files of token ids. markov and zipf_facts: drawn tokens whose entropy is known exactly."""
    content: Literal["code", "prose"] = "code"
    """python only: whole source files, or only their docstrings and comments."""
    paths: tuple[str, ...] = ()
    """files: globs of .txt, .jsonl, .json, .csv, .tsv or .parquet files; all but the last may be packed as .gz or .zst.
    tokens: globs of .bin or .npy files."""
    name: str | None = None
    """hub only: data set name, or a local directory of such a layout."""
    subset: str | None = None
    """hub only: configuration of the data set."""
    split: str = "train"
    """hub only: split."""
    revision: str | None = None
    """hub only: commit or tag."""
    streaming: bool = True
    """hub only: read without downloading the whole data set."""
    column: str = "text"
    """Of rows (all files but .txt, and hub): the column that holds the text; a path where it is nested: doc.text."""
    separator: Annotated[str, Field(min_length=1), BeforeValidator(_unescaped)] | None = None
    """files only: what stands between documents of a .txt file, such as '---' or '\\n\\n'; by default it is one."""
    max_skipped: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """files and hub only: share of the rows that may be passed over because they cannot be read."""
    dtype: Literal["uint16", "uint32"] | None = None
    """tokens only: type of the ids in .bin files, little-endian; a .npy file says its own."""
    bytes_per_token: PositiveFloat | None = None
    """tokens only: UTF-8 bytes of text behind a token; without it there are no bits per byte."""
    max_bytes: Count | None = None
    """Text read at most, in UTF-8 bytes."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of the text that is held out, by document; of source=tokens, the end; of drawn tokens, drawn apart."""
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
        if self.source == "tokens" and (not self.paths or self.tokenizer.vocab_size is None):
            raise ValueError("source=tokens needs paths and tokenizer.vocab_size, for example data.tokenizer.vocab_size=50257")
        gives_tokens = self.is_drawn or self.source == "tokens"
        if gives_tokens != (self.tokenizer.kind == "none"):
            allowed = "none" if gives_tokens else "bytes, bpe, hub, sentencepiece or tiktoken"
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
