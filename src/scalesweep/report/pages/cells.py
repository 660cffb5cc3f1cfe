"""The rows of the cell table: first what a reader looks for (size, budget, loss, what the law says), then all else."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scalesweep.analysis.analyse import Analysis
from scalesweep.errors import Refused
from scalesweep.fit import Fit
from scalesweep.laws import JointLaw
from scalesweep.report.charts.chart import format_power
from scalesweep.report.context import ReportContext
from scalesweep.report.tables import Cell
from scalesweep.units import format_count, format_share

LEADING = ("key", "row", "N", "D", "C", "D/N", "seed", "loss ± se", "fitted loss", "residual", "used")
"""Columns that come first, as far as the cells have them."""
_RENAMED = ("n", "d", "c", "loss", "loss_se", "tokens_per_param", "excluded_reason", *LEADING)
"""Columns of the cells that the leading ones hold."""


def cell_rows(analysis: Analysis, context: ReportContext) -> list[dict[str, Any]]:
    """All measured cells with the loss of the preferred law, what is left over, and whether fits use them."""
    frame = analysis.points.frame
    families = analysis.families.families if analysis.families else ()
    frames = [frame, *(family.points.frame for family in families)]
    is_known = "key" in frame and context.frontier is None  # a frontier's rows are no cells
    reasons = {str(k): why for f in frames for k, why in zip(f["key"], f["excluded_reason"], strict=True)} if is_known else {}
    laws = _laws(analysis)
    found = [_row(cell, i, laws(str(cell.get("key"))), reasons) for i, cell in enumerate(context.cells, start=1)]
    kept = [name for name in LEADING if any(row.get(name) is not None for row in found)]
    kept = [name for name in kept if name != "row" or "key" not in kept]
    kept += dict.fromkeys(name for cell in context.cells for name in cell if name not in _RENAMED)
    return [{name: row.get(name) for name in kept} for row in found]


def num_leading(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many columns of these rows come first."""
    return len([name for name in rows[0] if name in LEADING]) if rows else 0


def _laws(analysis: Analysis) -> Callable[[str], Fit | None]:
    """The preferred law of a cell by its key: where families are not pooled, that of its own."""
    if analysis.families is None or analysis.families.is_pooled:
        return lambda key: analysis.fit.preferred
    own = {
        str(key): None if isinstance(family.law, Refused) else family.law
        for family in analysis.families.families
        for key in family.points.frame.get("key", ())
    }
    return own.get


def _row(cell: Mapping[str, Any], place: int, best: Fit | None, reasons: Mapping[str, str]) -> dict[str, Any]:
    n, d, c, loss, error = (_number(cell.get(name)) for name in ("n", "d", "c", "loss", "loss_se"))
    fitted = _fitted(best.law, cell, n, d) if best and isinstance(best.law, JointLaw) and n and d else None
    residual = loss / fitted - 1 if loss and fitted else None
    return {
        **cell,
        "row": place,
        "N": _shown(n, format_count),
        "D": _shown(d, format_count),
        "C": _shown(c, format_power),
        "D/N": _shown(d / n if n and d else None, "{:.3g}".format),
        "loss ± se": _shown(loss, lambda value: f"{value:.4f}" if error is None else f"{value:.4f} ± {error:.4f}"),
        "fitted loss": _shown(fitted, "{:.4f}".format),
        "residual": _shown(residual, lambda value: format_share(value, sign="+")),
        "used": _used(cell, loss, reasons),
    }


def _fitted(law: JointLaw, cell: Mapping[str, Any], n: float, d: float) -> float:
    """The law's loss of the cell, of which a law of repeated data wants the unique tokens, as `Points.u` has them."""
    unique = _number(cell.get("unique_tokens"))
    epochs = _number(cell.get("epochs")) or (d / unique if unique else 1.0)
    at = {"N": n, "D": d, "U": d / max(1.0, epochs)}
    return float(law.predict(*(at[symbol] for symbol in law.variables)))


def _used(cell: Mapping[str, Any], loss: float | None, reasons: Mapping[str, str]) -> str:
    """yes, or why fits leave the cell out."""
    reason = cell.get("excluded_reason") or reasons.get(str(cell.get("key")))
    if reason:
        return f"no: {reason}"
    return "yes" if loss is not None else "no: no loss yet"


def _number(value: Any) -> float | None:
    """The value if it is a finite number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None


def _shown(value: float | None, write: Callable[[float], str]) -> Cell | None:
    return None if value is None else Cell(value, write(value))
