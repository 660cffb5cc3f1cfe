"""Sources whose entropy is known exactly: what a validation loss can be held against.

`markov` is a stationary chain of order 2 over a small alphabet. `zipf_facts` is a stream of independent records, a key drawn
from a power law and a value that a keyed hash fixes (the Santa Fe process, Debowski 2011; as a scaling task Hutter 2021, arXiv
2102.04074, and Michaud et al. 2023, arXiv 2303.13506). Both yield tokens, not text, and as many fresh ones as are asked for, as
do the tasks of `tasks.py`, which share what is here.

Randomness is the raw stream of PCG64, which numpy keeps across versions. Training and validation streams are drawn apart from
the same source, so that validation measures the source and not a stretch of the training stream.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.settings.data import DataSpec

KEY_DIGITS = 3
"""Tokens of a key; a judgement: a million keys take digits of base 100, so that vocabulary and record are both short."""
RECORD_TOKENS = KEY_DIGITS + 1
"""Tokens of a record of zipf_facts; contexts that are a multiple of it see whole records."""
SHARPNESS = 2.0
"""Power of the exponential weights behind a row of transition probabilities. At 1 (uniform on the simplex) the two
tokens before are worth 0.39 nats of 2.77 with seed 0 and 16 symbols, at 2 they are worth 0.96: more for a model to learn."""
CHUNK = 1 << 16
"""Draws at a time, which bounds the memory; no token depends on it."""

IdArray = NDArray[np.uint64]


@dataclass(frozen=True)
class TokenSource:
    """Tokens with a known entropy, before they are drawn."""

    name: str
    """For people, for example "markov-16"."""
    vocab_size: int
    entropy: float
    """Nats per token given everything that came before."""
    window_excess: float
    """Nats that a window loses because its first token hides what came before; T tokens cost T * entropy + window_excess."""
    draw: Callable[[int, int], Iterator[IntArray]]
    """Tokens of the stream number `first argument`, `second argument` of them, in arrays of some length."""


def check_entropy(loss: float, loss_se: float, entropy: float) -> str:
    """Why `loss` cannot be the loss of an honest model on a source of this entropy (nats per token), or an empty string.

    No model beats the entropy but by the chance of the validation tokens, so a loss more than three standard errors below it
    means a leak, a shifted target or a wrong average. A loss that is not a number is not judged.
    """
    if not loss < entropy - 3 * loss_se:
        return ""
    return (
        f"validation loss {loss:.4f} is below the source's entropy {entropy:.4f} by {(entropy - loss) / loss_se:.1f} standard "
        "errors, which no model can be: look for targets that leak into the inputs, or a wrong average."
    )


def markov_table(seed: int, alphabet: int) -> FloatArray:
    """P(c | a, b), shape (V, V, V): each row is exponential weights to the power `SHARPNESS`, normalised."""
    weights = (-np.log(uniform(stream_bits(seed, 0), alphabet**3))) ** SHARPNESS
    rows = weights.reshape(alphabet, alphabet, alphabet)
    return np.asarray(rows / rows.sum(axis=-1, keepdims=True))


def stationary_pairs(table: FloatArray) -> FloatArray:
    """Probability of each pair (a, b) in the long run, shape (V, V): solves pi(b, c) = sum_a pi(a, b) P(c | a, b)."""
    V = len(table)
    step = np.zeros((V, V, V, V))
    for b in range(V):
        step[:, b, b, :] = table[:, b]
    system = step.reshape(V * V, V * V).T - np.eye(V * V)
    system[-1] = 1.0  # one equation follows from the others; the probabilities sum to 1 instead
    solved: FloatArray = np.linalg.solve(system, np.eye(V * V)[-1])
    return solved.reshape(V, V)


def markov_entropies(table: FloatArray) -> tuple[float, float, float]:
    """Nats of a token given none, one and two tokens before it, in the stationary chain; the last one is the entropy rate."""
    pairs = stationary_pairs(table)
    single = entropy_of(pairs.sum(axis=0))
    return single, entropy_of(pairs) - single, entropy_of(pairs[:, :, None] * table) - entropy_of(pairs)


def markov_source(seed: int, alphabet: int) -> TokenSource:
    """The first target of a window sees one token, all others at least two, so a window of T costs h_1 + (T - 1) h_2."""
    table = markov_table(seed, alphabet)
    _, given_one, rate = markov_entropies(table)

    def draw(stream: int, num: int) -> Iterator[IntArray]:
        return _walk(table, stream_bits(seed, 1 + stream), num)

    return TokenSource(f"markov-{alphabet}", alphabet, rate, given_one - rate, draw)


def _walk(table: FloatArray, bits: np.random.PCG64, num: int) -> Iterator[IntArray]:
    """A stationary path of `num` tokens by inversion of the cumulative rows."""
    from bisect import bisect_right

    V = len(table)
    inner = np.cumsum(table, axis=-1)[..., :-1].reshape(V * V, V - 1).tolist()  # V - 1 cuts, so that rounding leaves no gap
    pair = bisect_right(np.cumsum(stationary_pairs(table))[:-1].tolist(), uniform(bits, 1)[0])
    first = divmod(pair, V)[:num]
    yield np.array(first, dtype=np.int64)
    num -= len(first)
    while num > 0:
        path = []
        for draw in uniform(bits, min(num, CHUNK)).tolist():
            token = bisect_right(inner[pair], draw)
            pair = pair % V * V + token
            path.append(token)
        yield np.array(path, dtype=np.int64)
        num -= len(path)


def key_probabilities(keys: int, alpha: float) -> FloatArray:
    """p_k proportional to k^-(1 + alpha) for k = 1..keys, shape (keys,)."""
    weights = np.arange(1, keys + 1, dtype=np.float64) ** -(1 + alpha)
    return np.asarray(weights / weights.sum())


def draw_keys(bits: np.random.PCG64, cumulative: FloatArray, num: int) -> IntArray:
    """Independent keys from 0 by inversion of their cumulative probabilities, shape (num,)."""
    return np.minimum(np.searchsorted(cumulative, uniform(bits, num), side="right"), len(cumulative) - 1)


def fact_values(seed: int, keys: int, values: int) -> IntArray:
    """The value of each key, shape (keys,): SplitMix64 (Steele et al. 2014) of the key and the seed, modulo `values`."""
    mixed = split_mix(hash_start(seed, 0), np.arange(1, keys + 1, dtype=np.uint64))
    return np.asarray(mixed % np.uint64(values), dtype=np.int64)


def split_mix(start: IdArray, numbers: IdArray) -> IdArray:
    """SplitMix64 of each number, shape as of the two arguments together: a hash whose key is `start`."""
    z = start + numbers * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def hash_start(*seeds: int) -> IdArray:
    """A key of `split_mix`, shape (1,)."""
    return np.asarray(np.random.SeedSequence(seeds).generate_state(1, np.uint64))


def key_base(keys: int, digits: int = KEY_DIGITS) -> int:
    """The smallest base in which so many digits number all keys."""
    base = 2
    while base**digits < keys:
        base += 1
    return base


def zipf_facts_source(spec: DataSpec) -> TokenSource:
    """Records of the digits of k - 1, most significant first, and base + value. A record's entropy is H(K): its value is fixed.

    Windows whose length is a multiple of the record's start with a record, so they hide nothing. In others the first record
    is cut, which can only raise the loss.
    """
    seed, base = spec.seed, key_base(spec.keys)
    probabilities = key_probabilities(spec.keys, spec.zipf_alpha)
    cumulative = np.cumsum(probabilities)
    values = fact_values(seed, spec.keys, spec.values)
    place = base ** np.arange(KEY_DIGITS - 1, -1, -1)

    def draw(stream: int, num: int) -> Iterator[IntArray]:
        bits = stream_bits(seed, 1 + stream)
        while num > 0:
            keys = draw_keys(bits, cumulative, min(CHUNK, -(-num // RECORD_TOKENS)))
            digits = keys[:, None] // place % base
            yield np.concatenate([digits, base + values[keys, None]], axis=1).reshape(-1)[:num]
            num -= len(keys) * RECORD_TOKENS

    name = f"zipf-{spec.keys:,}-{spec.zipf_alpha:g}".replace(",", "_")
    return TokenSource(name, base + spec.values, entropy_of(probabilities) / RECORD_TOKENS, 0.0, draw)


def ideal_value_loss(probabilities: FloatArray, values: int, records: float = math.inf, facts: float = math.inf) -> float:
    """Expected loss at the value, nats, of a table that holds the `facts` commonest keys of those seen in `records` records.

    ln V_v [sum_{k > n} p_k + sum_{k <= n} p_k (1 - p_k)^D], n facts and D records: 0 for a known key, ln V_v for any other one
    (Hutter 2021, Michaud et al. 2023). With p_k ~ k^-(1 + alpha) it falls as n^-alpha, and as D^-(alpha / (1 + alpha)).

    Args:
        probabilities: of the keys, commonest first, shape (keys,).
        values: number of values, V_v.
        records: independent records that were seen, D; infinite for all keys seen.
        facts: keys for which there is room, n; infinite for all.
    """
    held = probabilities[: int(min(facts, len(probabilities)))]
    unseen = 0.0 if math.isinf(records) else float(np.sum(held * np.exp(records * np.log1p(-held))))
    return math.log(values) * (unseen + max(0.0, 1.0 - float(held.sum())))


def entropy_of(probabilities: FloatArray) -> float:
    """-sum p ln p in nats, of an array of any shape."""
    positive = probabilities[probabilities > 0]
    return float(-np.sum(positive * np.log(positive)))


def stream_bits(seed: int, stream: int) -> np.random.PCG64:
    """The generator of one stream of a source."""
    return np.random.PCG64(np.random.SeedSequence([seed, stream]))


def uniform(bits: np.random.PCG64, num: int) -> FloatArray:
    """Uniform on (0, 1), shape (num,): 53 bits, and half a unit up so that none is 0."""
    return np.asarray(((bits.random_raw(num) >> np.uint64(11)) + 0.5) * 2.0**-53)
