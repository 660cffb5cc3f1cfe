"""Whether a text comes back from its tokens: what a tokenizer loses of it is measured before anything is trained.

A tokenizer that drops, folds or replaces characters makes a text easier than it is (one that maps everything to its unknown
token reaches loss 0), and bits per byte then count bytes that no model saw.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scalesweep.errors import DataError
from scalesweep.settings.data import TokenizerSpec
from scalesweep.train.data.encoding import Tokenizer
from scalesweep.train.data.spool import Region, Spool, cut

SAMPLE_TEXTS = 1024
SAMPLE_BYTES = 1 << 10
"""Of each text at most: with `SAMPLE_TEXTS` at most 1 MB, which a byte-level BPE encodes and decodes in 0.4 s."""
_SHOWN = 24
"""Characters that an example shows."""


@dataclass(frozen=True)
class RoundTrip:
    """What decode(encode(text)) gives back of a sample of the training text."""

    texts: int
    """Documents of the sample, or parts of long ones."""
    changed_texts: int
    """Those that do not come back as they were."""
    characters: int
    lost_characters: int
    """That are missing from what comes back, or are new in it: a lower bound of the edit distance."""
    example: str = ""
    """The first difference, as "'before' comes back as 'after'"; empty where there is none."""

    @property
    def lost(self) -> float:
        """Share of the characters that do not come back."""
        return self.lost_characters / max(1, self.characters)


def sample(spool: Spool, regions: tuple[Region, ...]) -> list[bytes]:
    """At most `SAMPLE_TEXTS` texts, spread evenly over the bytes of `regions`: short documents whole, parts of others.

    Parts lose the spaces at their ends, which are no ends of the document: some tokenizers drop or add a space there.
    """
    lengths = np.array([length for _, length in regions])
    ends = np.cumsum(lengths)
    places = np.arange(SAMPLE_TEXTS) * int(ends[-1]) // SAMPLE_TEXTS
    chosen: dict[Region, bool] = {}
    for place in places.tolist():
        index = int(np.searchsorted(ends, place, side="right"))
        offset, length = regions[index]
        start = (place - int(ends[index] - length)) // SAMPLE_BYTES * SAMPLE_BYTES
        chosen[offset + start, min(SAMPLE_BYTES, length - start)] = length <= SAMPLE_BYTES
    texts = zip(spool.read(chosen), chosen.values(), strict=True)
    return [text for part, is_whole in texts if (text := part if is_whole else _whole_characters(part).strip())]


def round_trip(tokenizer: Tokenizer, texts: Iterable[bytes]) -> RoundTrip:
    """Encode and decode `texts`, UTF-8. A space that a tokenizer sets before a text is no loss."""
    changed = characters = lost = num_texts = 0
    example = ""
    for text in texts:
        (ids,) = tokenizer.encode_batch([text])
        before, after = text.decode(), tokenizer.decode(ids)
        num_texts += 1
        characters += len(before)
        if after in (before, " " + before):
            continue
        changed += 1
        kept = (Counter(before) & Counter(after)).total()
        missing, new = len(before) - kept, len(after) - kept
        lost += min(len(before), max(1, missing, new))  # 1: equal characters in another order
        example = example or _difference(before, after)
    return RoundTrip(num_texts, changed, characters, lost, example)


def check_loss(spec: TokenizerSpec, found: RoundTrip | None, unknown_tokens: int, tokens: int) -> None:
    """Refuse a tokenizer that loses more of the text than `spec.max_lost`.

    Args:
        spec: the tokenizer that was asked for.
        found: what was measured; None where nothing was.
        unknown_tokens: tokens of both streams that stand for text which the vocabulary lacks.
        tokens: of both streams.

    Raises:
        DataError: a larger share of the characters does not come back, or of the tokens is the unknown one.
    """
    remedy = (
        f"allowed is data.tokenizer.max_lost = {spec.max_lost:g}: take another tokenizer, such as data.tokenizer.kind=bpe, "
        "or raise data.tokenizer.max_lost."
    )
    name = f"data.tokenizer.name={spec.name!r}" if spec.name else f"data.tokenizer.kind={spec.kind}"
    if found is not None and found.lost > spec.max_lost:
        raise DataError(
            f"{name} loses {percent(found.lost)} of the characters in a sample of the text ({found.example}); {remedy}"
        )
    if unknown_tokens > spec.max_lost * tokens:
        share = percent(unknown_tokens / tokens)
        raise DataError(f"{name} gives its unknown token for {unknown_tokens:,} of {tokens:,} tokens ({share}); {remedy}")


def percent(share: float) -> str:
    """A share with two digits that count, never rounded to none or all: 0.0004 as "0.040 %", 0.99996 as "99.9960 %"."""
    digits = 1 - math.floor(math.log10(100 * min(share, 1 - share))) if 0 < share < 1 else 0
    return f"{100 * share:.{min(9, max(0, digits))}f} %"


def _whole_characters(part: bytes) -> bytes:
    """UTF-8 text without the characters that its ends cut."""
    start = next((i for i, byte in enumerate(part[:4]) if byte & 0xC0 != 0x80), len(part))
    text = part[start:]
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return cut(text, error.start)
    return text


def _difference(before: str, after: str) -> str:
    place = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after)))
    start = max(0, place - _SHOWN // 4)
    return f"{before[start : start + _SHOWN]!r} comes back as {after[start : start + _SHOWN]!r}"
