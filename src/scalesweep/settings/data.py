"""What is trained on: a source of text and its tokenizer."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from scalesweep.settings.base import Count, Seed, Spec

PLACES = 1000
"""Windows among which a mixture keeps its weights exactly. A judgement: weights are held to .1 %, and a block of so many
windows is far below a budget that a law is fitted to."""

TASKS = ("facts", "copy")
"""Sources that state problems with one right answer, which their cells are asked."""
DRAWN = ("markov", "zipf_facts", *TASKS)
"""Sources that draw tokens from a distribution whose entropy is known."""
TEXTS = (".txt", ".md", ".rst", ".tex", ".py")
"""Local files that are text as they stand; of any other kind nobody knows whether its marks are part of the text."""
PACKINGS = (".gz", ".zst")
FACT_DIGITS = 2
"""Tokens of a key of facts: 4,096 keys take digits of base 64, so that no token alone names a key."""

MOST_FACTS = 100_000
"""Keys of facts at most. A judgement: so many answers take a tiny model some ten seconds on a CPU."""
FEWEST_PROBLEMS = 1_000_000
"""Problems of copy at least. A judgement: a budget of 1M tokens then shows a model hardly one in twenty of them."""


def _unescaped(value: object) -> object:
    """Line breaks and tabs, which a command line cannot spell otherwise."""
    return value.replace("\\n", "\n").replace("\\t", "\t") if isinstance(value, str) else value


class TokenizerSpec(Spec):
    """How text becomes tokens."""

    kind: Literal["bytes", "bpe", "hub", "sentencepiece", "tiktoken", "none"]
    """bytes: 256 byte values and an end-of-document token. bpe: byte-level BPE of the corpus. hub: a ready tokenizer of the
    library tokenizers. sentencepiece and tiktoken: of these libraries, extras of the installation. none: for
    sources that give tokens themselves (tokens, markov, zipf_facts, facts, copy), or another's (generated)."""
    vocab_size: Annotated[int, Field(ge=2, le=2**31)] | None = None
    """Vocabulary of a trained BPE, 257 or more, or of data=tokens: one more than the largest id that there may be."""
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

    source: Literal["python", "enwik8", "files", "hub", "tokens", "markov", "zipf_facts", "facts", "copy", "mix", "generated"]
    """python: source text of the running environment. enwik8: 10^8 bytes of Wikipedia. files: local files. hub: a data set.
    tokens: local files of token ids. markov and zipf_facts: drawn tokens whose entropy is known exactly. facts and copy: such
    tokens that state problems with one right answer. mix: several texts by weight. generated: what a trained cell writes."""
    content: Literal["code", "prose"] = "code"
    """python only: whole source files, or only their docstrings and comments."""
    paths: tuple[str, ...] = ()
    """files: globs of text (.txt, .md, .rst, .tex, .py), .jsonl, .json, .csv, .tsv or .parquet files; all but the last may be
    packed as .gz or .zst. tokens: globs of .bin or .npy files."""
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
    """Of rows (all files but text, and hub): the column that holds the text; a path where it is nested: doc.text."""
    separator: Annotated[str, Field(min_length=1), BeforeValidator(_unescaped)] | None = None
    """files only: what stands between documents of a file of text, such as '---' or '\\n\\n'; by default it is one."""
    max_skipped: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """files and hub only: share of the rows that may be passed over because they cannot be read."""
    max_bytes: Count | None = None
    """Text read at most, in UTF-8 bytes."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of the text that is held out, by document; of data=tokens, the end; of drawn tokens, drawn apart."""

    def check_source(self) -> None:
        """Raise ValueError for a source that lacks what it needs."""
        if self.source == "files" and not self.paths:
            raise ValueError("data=files needs paths, for example data.paths=['texts/*.txt']")
        if self.source == "hub" and not self.name:
            raise ValueError("data=hub needs name, for example data.name=roneneldan/TinyStories")


class PartSpec(TextSpec):
    """One text of a mixture."""

    weight: PositiveFloat
    """Share of the training windows, in any unit: those of all parts make the whole."""

    @model_validator(mode="after")
    def _is_text(self) -> Self:
        if self.source in ("mix", "tokens", *DRAWN, "generated"):
            why = "a mixture in a mixture" if self.source == "mix" else "tokens, no text"
            raise ValueError(f"data={self.source} is {why}: a part is python, enwik8, files or hub")
        self.check_source()
        return self


class DataSpec(TextSpec):
    """A corpus, its tokenizer and its split."""

    parts: tuple[PartSpec, ...] = ()
    """mix only: the texts, each with an option of this group as `data`, its settings, and a weight."""
    dtype: Literal["uint16", "uint32"] | None = None
    """tokens only: type of the ids in .bin files, little-endian; a .npy file says its own."""
    bytes_per_token: PositiveFloat | None = None
    """tokens only: UTF-8 bytes of text behind a token; without it there are no bits per byte."""
    model: str | None = None
    """generated only: directory of the sweep whose cell writes the training text."""
    cell: str | None = None
    """generated only: key of that cell, a decoder trained with train.keep_weights=true."""
    accumulate: tuple[str, ...] = ()
    """generated only: keys of the cells of all generations so far, `cell` last. What the first was trained on and what each of
    them writes are pooled in equal shares; () is the text of `cell` alone."""
    verified: bool = False
    """generated only: drop records that are wrong; of cells whose first text was facts, where a lookup tells."""
    temperature: PositiveFloat = 1.0
    """generated only: by which the logits are divided; 1 is the distribution that the cell has learnt."""
    max_tokens: Annotated[Count, Field(ge=1000)] = 8_000_000
    """Tokens that are drawn: of generated for training alone, of all others held-out ones included."""
    seed: Seed = 0
    """Seed of the windows that `unique_tokens` leaves; of drawn tokens and generated ones also of what is drawn."""
    unique_tokens: Count | None = None
    """U: distinct training tokens that a cell may visit, rounded down to windows of `model.context`, which `data.seed` draws
    from the whole training stream; budgets above it are further epochs. Null is all of the stream."""
    transform: TransformSpec | None = None
    """A change of known effect, such as {kind: drop, share: 0.25}, after the choice of `unique_tokens`; null is none."""
    alphabet: Annotated[int, Field(ge=2, le=64)] = 16
    """markov and copy only: number of symbols, V; the chain of markov has V^2 states."""
    keys: Annotated[Count, Field(ge=2, le=10**8)] = 1_000_000
    """zipf_facts and facts only: number of keys, K. Far fewer than 1M cut the power law off early."""
    zipf_alpha: PositiveFloat = 0.5
    """zipf_facts and facts only: keys have p_k proportional to k^-(1 + zipf_alpha), which is the exponent of facts held; that
    of records seen is zipf_alpha / (1 + zipf_alpha)."""
    values: Annotated[int, Field(ge=2, le=2**16)] = 256
    """zipf_facts and facts only: number of values of a token, V_v."""
    answer_tokens: Annotated[int, Field(ge=1, le=64)] = 4
    """facts and copy only: tokens of an answer, m: values of a key, or symbols to be repeated."""
    wrong_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """facts only: share of the keys that have another value in the training stream, as a control; what is held out is right."""
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
        self.check_source()
        if bool(self.parts) != (self.source == "mix"):
            example = "data.parts=[{data: files, paths: [mine.txt], weight: 3}, {data: python, weight: 1}]"
            raise ValueError(f"data=mix needs parts, and only it has any, for example {example}")
        if self.parts and (self.paths or self.name or self.max_bytes):
            raise ValueError("paths, name and max_bytes are of the parts of a mixture: set them in data.parts")
        total = sum(part.weight for part in self.parts)
        if self.parts and (least := min(part.weight for part in self.parts)) * PLACES < total:
            raise ValueError(f"weight = {least:g} of {total:g} is below 1 in {PLACES:,}, to which weights are kept")
        if self.source == "tokens" and (not self.paths or self.tokenizer.vocab_size is None):
            raise ValueError("data=tokens needs paths and tokenizer.vocab_size, for example data.tokenizer.vocab_size=50257")
        if self.source == "facts" and self.keys > MOST_FACTS:
            raise ValueError(
                f"data=facts has keys = {self.keys:,}, more than {MOST_FACTS:,}, and every cell is asked for all of them; "
                "lower it, for example to 4096"
            )
        if self.source == "copy" and (problems := self.alphabet**self.answer_tokens) < FEWEST_PROBLEMS:
            raise ValueError(
                f"data=copy has alphabet^answer_tokens = {problems:,} problems, fewer than {FEWEST_PROBLEMS:,}, so that a "
                "model could have seen most of them; raise answer_tokens, for example to 8"
            )
        if self.source == "generated" and (not self.model or not self.cell):
            raise ValueError("data=generated needs model and cell, for example data.model=runs/smoke data.cell=34b4345b228a")
        if self.accumulate and self.accumulate[-1] != self.cell:
            raise ValueError(
                f"accumulate ends with the cell that writes last, data.cell={self.cell}, not {self.accumulate[-1]}"
            )
        gives_tokens = self.is_drawn or self.source in ("tokens", "generated")
        if self.transform is not None and self.transform.is_of_text and gives_tokens:
            raise ValueError(f"transform.kind = {self.transform.kind} is of text, and data={self.source} has none")
        if gives_tokens != (self.tokenizer.kind == "none"):
            allowed = "none" if gives_tokens else "bytes, bpe, hub, sentencepiece or tiktoken"
            raise ValueError(f"data={self.source} needs tokenizer.kind={allowed}, not {self.tokenizer.kind}")
        if self.validation and gives_tokens and self.source != "generated":
            raise ValueError(f"validation is of text, and data={self.source} gives tokens that no tokenizer makes")
        for name, text in self.validation.items():
            if text is None:
                continue
            if text.parts or text.transform or text.unique_tokens:
                raise ValueError(f"validation.{name} is one text as it is, without parts, transform and unique_tokens")
            if text.tokenizer.kind != "bytes" or text.validation:
                raise ValueError(f"validation.{name} is a text, without a tokenizer and a validation set of its own")
        return self

    @property
    def is_drawn(self) -> bool:
        """Whether the source gives tokens of known entropy instead of text."""
        return self.source in DRAWN

    @property
    def record_tokens(self) -> int | None:
        """Tokens of a record of facts and of a problem of copy, of which a context must hold a whole number; else None."""
        return {"facts": FACT_DIGITS + self.answer_tokens, "copy": 2 * self.answer_tokens + 2}.get(self.source)

    @property
    def own_set(self) -> str:
        """What gives the validation set where that is apart from the training text; empty where a share is held out."""
        name = next((name for name, text in list(self.validation.items())[:1] if text is not None), "")
        return f"data.validation.{name}" if name else "the corpus of data.model" if self.source == "generated" else ""
