"""Sources that state problems with one right answer, and the problem sets by which a trained model is asked.

`facts` is a stream of independent records: the digits of a key, drawn from a power law, and the tokens of its value, which a
keyed hash of key and place fixes. A hash also says which key has which rank, so that no digit tells how common a key is. To
answer is to know: a guess is right with probability V_v^-m.

`copy` is a stream of problems: m random symbols, a separator, the same symbols, an end. Problems are fresh; a hash of its
symbols says whether one is held out. To answer is to have found how to copy (induction, Olsson et al. 2022, arXiv 2209.11895).

A split by a mixing hash, and not by a residue of a sum: a linear rule can be what a task is about, and would then hold out a
part of it that no training example shows.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import BoolArray, IntArray
from scalesweep.errors import DataError
from scalesweep.settings.data import FACT_DIGITS, DataSpec
from scalesweep.train.data.synthetic import (
    CHUNK,
    TokenSource,
    draw_keys,
    entropy_of,
    fact_values,
    hash_start,
    key_base,
    key_probabilities,
    markov_source,
    split_mix,
    stream_bits,
    uniform,
    zipf_facts_source,
)

HELD_OUT = 16
"""One in so many problems of copy is held out. A judgement: enough for a validation stream without repeats, and few enough that
the entropy of the others, lower by the log of their share, differs by .06 nats a problem."""
COPY_PROBLEMS = 1500
"""Problems of copy that a model is asked; a share of .5 has then a standard error of .013."""
_ASKED = 2
"""Stream of copy's problem set; 0 and 1 are training and validation."""


@dataclass(frozen=True, eq=False)
class ProblemSet:
    """Problems as they stand in windows, each with its right answer behind it."""

    name: str
    """Of the task."""
    tokens: IntArray
    """Windows, shape (windows, tokens)."""
    window: IntArray
    """Of each problem, ascending, shape (problems,)."""
    start: IntArray
    """Place in its window of the first token of the answer, shape (problems,)."""
    answer_tokens: int
    """Of every answer, m."""
    rank: IntArray
    """How common a problem is in training, 1 the commonest; 0 where no problem is seen twice. Shape (problems,)."""
    chance: float
    """Probability that a guess among the tokens that may stand there is right."""

    @property
    def answer_places(self) -> tuple[IntArray, IntArray]:
        """Window and place of every answer token, shapes (problems, 1) and (problems, m)."""
        return self.window[:, None], self.start[:, None] + np.arange(self.answer_tokens)

    @property
    def answers(self) -> IntArray:
        """The right answers, shape (problems, m)."""
        return np.asarray(self.tokens[self.answer_places])

    @property
    def digest(self) -> str:
        """Sixteen hex digits of windows and places: equal digests, equal problems."""
        sha256 = hashlib.sha256()
        for array in (self.tokens, self.window, self.start, np.array(self.answer_tokens)):
            sha256.update(array.astype("<i8").tobytes())
        return sha256.hexdigest()[:16]


def token_source(spec: DataSpec) -> TokenSource:
    """The source that `spec` describes."""
    makers: dict[str, Callable[[DataSpec], TokenSource]] = {
        "markov": lambda own: markov_source(own.seed, own.alphabet),
        "zipf_facts": zipf_facts_source,
        "facts": _facts_source,
        "copy": _copy_source,
    }
    return makers[spec.source](spec)


def problem_set(spec: DataSpec, context: int) -> ProblemSet:
    """The problems of a source.

    facts: every key, commonest first, each after the record of the commonest key (its own after that of the second) where a
    context holds two records, so that a record begins where most of them did in training. copy: held-out problems, at every
    place of a window where one may begin, since a model may copy well at the first of them and badly at others.

    Raises:
        DataError: the source states no problems.
    """
    if spec.source == "facts":
        return _facts_problems(spec, context)
    if spec.source == "copy":
        return _copy_problems(spec, context)
    raise DataError(f"data={spec.source} states no problems that a model could answer: facts and copy do.")


def fact_records(spec: DataSpec) -> IntArray:
    """The record of every key of facts, commonest first, shape (keys, FACT_DIGITS + answer_tokens)."""
    base, m = key_base(spec.keys, FACT_DIGITS), spec.answer_tokens
    values = fact_values(spec.seed, spec.keys * m, spec.values).reshape(spec.keys, m)
    keys = np.argsort(split_mix(hash_start(spec.seed, 0, 1), np.arange(spec.keys, dtype=np.uint64)), kind="stable")
    digits = keys[:, None] // base ** np.arange(FACT_DIGITS - 1, -1, -1) % base
    return np.concatenate([digits, base + values[keys]], axis=1)


def are_right(rows: IntArray, spec: DataSpec) -> BoolArray:
    """Which rows are records of facts, key and value, whoever wrote them.

    Args:
        rows: token ids, shape (rows, FACT_DIGITS + answer_tokens).
        spec: of source=facts.
    """
    records = fact_records(spec)
    weights = key_base(spec.keys, FACT_DIGITS) ** np.arange(FACT_DIGITS - 1, -1, -1)
    order = np.argsort(records[:, :FACT_DIGITS] @ weights)
    known = records[order]
    # A value where a digit belongs gives another key's number, or none; the comparison of all tokens finds it.
    place = np.searchsorted(known[:, :FACT_DIGITS] @ weights, rows[:, :FACT_DIGITS] @ weights)
    return np.asarray((known[np.minimum(place, len(known) - 1)] == rows).all(axis=1))


def _facts_source(spec: DataSpec) -> TokenSource:
    """A record's entropy is H(K), as its value is fixed; windows of a multiple of its length hide nothing."""
    records = fact_records(spec)
    taught = _wrong_in_part(records, spec) if spec.wrong_share else records
    probabilities = key_probabilities(spec.keys, spec.zipf_alpha)
    cumulative = np.cumsum(probabilities)

    def draw(stream: int, num: int) -> Iterator[IntArray]:
        bits, length = stream_bits(spec.seed, 1 + stream), records.shape[1]
        while num > 0:
            ranks = draw_keys(bits, cumulative, min(CHUNK, -(-num // length)))
            yield (records if stream else taught)[ranks].reshape(-1)[:num]
            num -= len(ranks) * length

    name = f"facts-{spec.keys}-{spec.zipf_alpha:g}-{spec.answer_tokens}x{spec.values}"
    name += f"-wrong{spec.wrong_share:g}" if spec.wrong_share else ""
    vocab_size = key_base(spec.keys, FACT_DIGITS) + spec.values
    return TokenSource(name, vocab_size, entropy_of(probabilities) / records.shape[1], 0.0, draw)


def _wrong_in_part(records: IntArray, spec: DataSpec) -> IntArray:
    """The records, of which the keys of a fixed random share have each value token replaced by another one."""
    number = records.size // len(records) - FACT_DIGITS
    mixed = split_mix(hash_start(spec.seed, 2), np.arange(len(records), dtype=np.uint64))
    is_wrong = mixed < np.uint64(spec.wrong_share * 2.0**64)
    shift = 1 + fact_values(spec.seed + 1, len(records) * number, spec.values - 1).reshape(-1, number)
    base = key_base(spec.keys, FACT_DIGITS)
    changed = records.copy()
    changed[:, FACT_DIGITS:] = base + (records[:, FACT_DIGITS:] - base + shift) % spec.values
    return np.where(is_wrong[:, None], changed, records)


def _facts_problems(spec: DataSpec, context: int) -> ProblemSet:
    records = fact_records(spec)
    before = np.broadcast_to(records[0], records.shape).copy()
    before[0] = records[min(1, len(records) - 1)]
    tokens = np.concatenate([before, records], axis=1) if context >= 2 * records.shape[1] else records
    start = np.full(spec.keys, tokens.shape[1] - spec.answer_tokens)
    return ProblemSet(
        name="facts",
        tokens=tokens,
        window=np.arange(spec.keys),
        start=start,
        answer_tokens=spec.answer_tokens,
        rank=np.arange(1, spec.keys + 1),
        chance=float(spec.values) ** -spec.answer_tokens,
    )


def _copy_source(spec: DataSpec) -> TokenSource:
    """A problem's entropy is m ln V: of the held-out ones too, as nothing in the training stream says which they are."""
    m, V = spec.answer_tokens, spec.alphabet

    def draw(stream: int, num: int) -> Iterator[IntArray]:
        for symbols in _copy_symbols(spec, stream):
            yield _copy_problem_tokens(symbols, V).reshape(-1)[:num]
            num -= len(symbols) * (2 * m + 2)
            if num <= 0:
                return

    return TokenSource(f"copy-{m}x{V}", V + 2, m * float(np.log(V)) / (2 * m + 2), 0.0, draw)


def _copy_problems(spec: DataSpec, context: int) -> ProblemSet:
    m, length = spec.answer_tokens, 2 * spec.answer_tokens + 2
    places = max(1, context // length)  # in a window
    windows = -(-COPY_PROBLEMS // places)
    found: list[IntArray] = []
    for symbols in _copy_symbols(spec, _ASKED):
        found.append(symbols)
        if sum(map(len, found)) >= windows * places:
            break
    problems = _copy_problem_tokens(np.concatenate(found)[: windows * places], spec.alphabet)
    asked = np.arange(COPY_PROBLEMS)
    return ProblemSet(
        name="copy",
        tokens=problems.reshape(windows, places * length),
        window=asked // places,
        start=asked % places * length + m + 1,
        answer_tokens=m,
        rank=np.zeros(COPY_PROBLEMS, dtype=np.int64),
        chance=float(spec.alphabet) ** -m,
    )


def _copy_problem_tokens(symbols: IntArray, alphabet: int) -> IntArray:
    """Symbols, separator, symbols, end, of each row; shape (problems, 2 m + 2)."""
    separator, end = (np.full((len(symbols), 1), alphabet + i) for i in range(2))
    return np.concatenate([symbols, separator, symbols, end], axis=1)


def _copy_symbols(spec: DataSpec, stream: int) -> Iterator[IntArray]:
    """Symbols of the problems of a stream, without end, in arrays of some length: held-out ones but in the first stream."""
    bits, m = stream_bits(spec.seed, 1 + stream), spec.answer_tokens
    while True:
        drawn = (uniform(bits, CHUNK * m) * spec.alphabet).astype(np.int64).reshape(CHUNK, m)
        yield drawn[is_held_out(drawn, spec.seed) == (stream > 0)]


def is_held_out(symbols: IntArray, seed: int) -> BoolArray:
    """Which problems of copy no training stream holds, given the symbols of each, shape (problems, m)."""
    mixed = hash_start(seed, 0)
    for symbol in symbols.T.astype(np.uint64):
        mixed = split_mix(mixed, symbol + np.uint64(1))
    return np.asarray(mixed % np.uint64(HELD_OUT) == 0)
