"""Cells of tables: which are empty, and what number a text is.

Tables write 5,000,000, 5M, 5e6, 1_000 and 5 000 000, in Europe 1.234,5 too. A text that may be two numbers, such as 1,234 where
nothing in the file shows whether the comma is a decimal one, is none.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from scalesweep.arrays import FloatArray

DecimalMark = Literal[".", ",", "?"]
"""What a file writes before decimals; `?` where its numbers do not show it, or show both."""
_NOTHING = frozenset(("", "nan", "na", "n/a", "#n/a", "none", "null", "<na>", "nat", "-"))
"""Texts that stand for no value, in any case: those of pandas.read_csv, and a dash."""
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_NUMBER = re.compile(r"([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s?([kmbgt]?)")
_GROUPED = {
    mark: re.compile(rf"[+-]?\d{{1,3}}(?:[{separator} \u00a0\u202f]\d{{3}})+(?![\d{separator}])")
    for mark, separator in ((".", ","), (",", "."))
}
"""Thousands, by the decimal mark that goes with them."""
_SHOWS = {
    mark: re.compile(
        rf"[+-]?(?:\d{{1,3}}(?:[{other}]\d{{3}})+[{mark}]\d+|\d{{1,3}}(?:[{other}]\d{{3}}){{2,}}|(?:0|\d{{4,}})?[{mark}]\d+"
        rf"|\d+[{mark}](?:\d{{1,2}}|\d{{4,}}))"
    )
    for mark, other in ((".", ","), (",", "."))
}
"""Numbers that only one decimal mark allows: 1,234.5 and 5,000,000 and 0.123 and 3.12 a point."""
_EXPONENT = re.compile(r"\s?[kmbgt%]?$|e[+-]?\d+\s?[kmbgt%]?$", re.IGNORECASE)
_UNCERTAIN = {"?": re.compile(r"[+-]?[1-9]\d{0,2},\d{3}"), ",": re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")}
"""Texts that are two numbers, by what the file writes before decimals."""


def plain(header: object) -> str:
    """A column's name without case and without what stands between its words."""
    return re.sub(r"[\W_]", "", str(header).lower())


def is_blank(value: Any) -> bool:
    """Whether a cell holds nothing: None, pandas' NA and NaT, NaN, or text of spaces."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value))


def is_empty(value: Any) -> bool:
    """Whether a cell holds no value; texts such as nan and N/A do not."""
    return value.strip().lower() in _NOTHING if isinstance(value, str) else is_blank(value)


def decimal_mark(table: Mapping[str, Sequence[Any]]) -> DecimalMark:
    """What the texts of a table write before decimals."""
    has_comma = has_point = False
    for value in (cell for column in table.values() for cell in column if isinstance(cell, str)):
        if "," in value or "." in value:
            bare = _EXPONENT.sub("", value.strip())
            has_comma = has_comma or _SHOWS[","].fullmatch(bare) is not None
            has_point = has_point or _SHOWS["."].fullmatch(bare) is not None
            if has_comma and has_point:
                return "?"
    return "," if has_comma else "." if has_point else "?"


def is_uncertain(value: Any, mark: DecimalMark) -> bool:
    """Whether a text is two numbers: 1,234, and 1.234 in a file with decimal commas."""
    pattern = _UNCERTAIN.get(mark)
    return pattern is not None and isinstance(value, str) and pattern.fullmatch(_EXPONENT.sub("", value.strip())) is not None


def number(value: Any, mark: DecimalMark = "?", is_rate: bool = False) -> float:
    """The number that a cell holds; NaN where it is empty or none, or two.

    Args:
        value: a number of any type, or a text.
        mark: what the file writes before decimals.
        is_rate: whether 12% is 0.12.
    """
    if isinstance(value, str):
        return _of_text(value.strip().lower(), mark, is_rate)
    if isinstance(value, bool | np.bool_) or is_blank(value):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def numbers(values: Iterable[Any], mark: DecimalMark = "?", is_rate: bool = False) -> FloatArray:
    """`number` of each cell, shape (rows,)."""
    return np.array([number(value, mark, is_rate) for value in values], dtype=np.float64)


def typed(values: Sequence[Any], mark: DecimalMark = "?") -> list[Any]:
    """A column of text as numbers where every cell is one or empty (NaN); any other one with None for what is empty."""
    if not any(isinstance(value, str) for value in values):
        return [None if is_blank(value) else value for value in values]
    found = [number(value, mark) for value in values]
    empty = [is_empty(value) for value in values]
    if all(empty) or not all(nothing or math.isfinite(one) for nothing, one in zip(empty, found, strict=True)):
        return [None if is_blank(value) else value for value in values]
    whole = all(isinstance(value, str) and value.strip().lstrip("+-").isdigit() for value in values)
    return [int(one) for one in found] if whole else found


def _of_text(text: str, mark: DecimalMark, is_rate: bool) -> float:
    if is_rate and text.endswith("%"):
        return _of_text(text[:-1].rstrip(), mark, False) / 100
    if is_uncertain(text, mark):
        return math.nan
    try:
        return float(text)  # most cells: 12, 1.5, 1e9, 1_000, inf
    except ValueError:
        pass
    separators = ",." if mark == "," else ".,"
    if (grouped := _GROUPED["," if mark == "," else "."].match(text)) is not None:
        text = re.sub(rf"[{separators[1]}\s]", "", grouped.group()) + text[grouped.end() :]
    if mark == ",":
        text = text.replace(",", ".", 1)
    if (match := _NUMBER.fullmatch(text)) is None:
        return math.nan
    return float(Decimal(match[1].replace("_", "")) * _FACTORS[match[2]])
