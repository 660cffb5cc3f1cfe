"""Conditions on rows, such as `arch == "dense" and step > 100`: comparisons, and, or, not, in; nothing is called."""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from scalesweep.arrays import BoolArray
from scalesweep.errors import PointsError, did_you_mean
from scalesweep.points.columns import listed
from scalesweep.points.values import DecimalMark, is_blank, number

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_QUOTED = re.compile(r"`([^`]+)`")
_ALLOWED = (
    "it takes comparisons of a column with numbers, 'texts' or [lists], joined by and, or, not, such as: "
    "where='arch == \"dense\" and step > 100'; a name with spaces or slashes stands in `backticks`"
)


def choose_rows(table: Mapping[str, Sequence[Any]], where: str, mark: DecimalMark, source: str) -> BoolArray:
    """Which rows a condition holds for, shape (rows,); an empty cell fulfils no comparison but !=.

    A cell is compared with a number as the number that it holds, with a text as its text.

    Raises:
        PointsError: the condition cannot be read, holds anything else, or names no column of the table.
    """
    columns = {f"_quoted_{i}": name for i, name in enumerate(_QUOTED.findall(where))}
    given = iter(columns)
    text = _QUOTED.sub(lambda _: next(given), where)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        hint = " (equality is ==)" if re.search(r"(?<![=!<>])=(?!=)", text) else ""
        raise PointsError(f"{source}: where={where!r} cannot be read{hint}; {_ALLOWED}.") from None
    return _Condition(table, where, mark, source, columns).holds(tree)


class _Condition:
    """One condition beside the table that it is asked of."""

    def __init__(
        self, table: Mapping[str, Sequence[Any]], where: str, mark: DecimalMark, source: str, quoted: Mapping[str, str]
    ) -> None:
        self._table, self._where, self._mark, self._source, self._quoted = table, where, mark, source, quoted
        self._num_rows = len(next(iter(table.values()), []))

    def holds(self, node: ast.expr) -> BoolArray:
        """The rows for which a node is true."""
        if isinstance(node, ast.BoolOp):
            parts = np.array([self.holds(value) for value in node.values])
            return np.asarray(parts.all(axis=0) if isinstance(node.op, ast.And) else parts.any(axis=0))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.holds(node.operand)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = [self._compare(*three) for three in zip(sides, node.ops, sides[1:], strict=False)]
            return np.asarray(np.array(pairs).all(axis=0))
        raise self._refused(node)

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> BoolArray:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                raise self._refused(right)
            found = np.array([self._compare(left, ast.Eq(), item) for item in right.elts])
            inside = found.any(axis=0) if len(found) else np.zeros(self._num_rows, dtype=bool)
            return np.asarray(inside if isinstance(op, ast.In) else ~inside)
        if (compare := _COMPARISONS.get(type(op))) is None:
            raise PointsError(f"{self._source}: where={self._where!r}: equality is ==; {_ALLOWED}.")
        one, other = self._cells(left), self._cells(right)
        as_numbers = any(isinstance(side, ast.Constant | ast.UnaryOp) and not _is_text(side) for side in (left, right))
        if not as_numbers and not any(_is_text(side) for side in (left, right)):
            as_numbers = all(math.isfinite(number(x, self._mark)) for x in (*one, *other) if not is_blank(x))
        return np.array([self._holds(x, y, compare, as_numbers) for x, y in zip(one, other, strict=True)], dtype=bool)

    def _holds(self, x: Any, y: Any, compare: Callable[[Any, Any], bool], as_numbers: bool) -> bool:
        if is_blank(x) or is_blank(y):
            return compare is operator.ne
        if isinstance(x, bool | np.bool_) or isinstance(y, bool | np.bool_):  # pandas writes True, JSON has true
            return bool(compare(str(x).strip().lower(), str(y).strip().lower()))
        if as_numbers:
            return bool(compare(number(x, self._mark), number(y, self._mark)))
        return bool(compare(str(x).strip(), str(y).strip()))

    def _cells(self, node: ast.expr) -> Sequence[Any]:
        """One value a row."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
            return [node.value] * self._num_rows
        if (
            isinstance(node, ast.UnaryOp)
            and isinstance(node.op, ast.USub | ast.UAdd)
            and isinstance(node.operand, ast.Constant)
        ):
            if isinstance(value := node.operand.value, int | float):
                return [-value if isinstance(node.op, ast.USub) else value] * self._num_rows
        if (name := self._column(node)) is None:
            raise self._refused(node)
        if name not in self._table:
            near, known = did_you_mean(name, self._table), listed(self._table)
            raise PointsError(f"{self._source}: where={self._where!r}: there is no column {name!r}{near}; found {known}.")
        return self._table[name]

    def _column(self, node: ast.expr) -> str | None:
        """The column that a node names; dots are a part of the name, for nothing has attributes here."""
        if isinstance(node, ast.Name):
            return self._quoted.get(node.id, node.id)
        if isinstance(node, ast.Attribute) and (before := self._column(node.value)) is not None:
            return f"{before}.{node.attr}"
        return None

    def _refused(self, node: ast.expr) -> PointsError:
        return PointsError(f"{self._source}: where={self._where!r}: {ast.unparse(node)!r} is not allowed; {_ALLOWED}.")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
