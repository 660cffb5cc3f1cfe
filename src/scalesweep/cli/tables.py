"""Tables for the terminal."""

import sys
import textwrap
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from scalesweep.plan.axes import AXIS, axes_of
from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import ModuleShape
from scalesweep.plan.plan import Plan
from scalesweep.run.launch.pricing import Price
from scalesweep.settings.plan import CountSpec
from scalesweep.settings.settings import Settings
from scalesweep.units import format_count, format_duration

_DROPPED_FIRST = ("batch", "epochs", "width", "lr", "tokens/N", "steps", "C", "seed")
"""What a narrow terminal does without, in this order; key, N, D, minutes and what was declared as an axis always stay."""


def output_width() -> int:
    """Columns of the terminal, or enough for everything where the output is no terminal."""
    width = Console().width
    return width if sys.stdout.isatty() else max(width, 140)


def wrapped(line: str) -> str:
    """The line, broken between words where a terminal is narrower; whole for other programs, which search lines."""
    if not sys.stdout.isatty():
        return line
    return textwrap.fill(line, output_width(), break_long_words=False, break_on_hyphens=False)


def print_plan(plan: Plan, settings: Settings, price: Price) -> None:
    """The cells with their minutes, measured or estimated, and below them what the sweep costs."""
    console = Console(highlight=False, width=output_width())
    rows = [_plan_row(cell, plan.count, price) for cell in plan.cells]
    axes = [name.rsplit(".", 1)[-1] for name in axes_of(settings)]
    for row, cell in zip(rows, plan.cells, strict=True):
        declared = plan.columns.get(cell.key, {})
        placed = {name.rsplit(".", 1)[-1]: value for name, value in declared.items() if name.startswith(AXIS)}
        row |= {name: f"{v:g}" if isinstance(v, float) else str(v) for name, v in placed.items() if name != "lr"}
        row |= {name.removeprefix("tune."): f"{v:.3g}" for name, v in declared.items() if name.startswith("tune.")}
    spare = [name for name in _DROPPED_FIRST if name not in axes]
    table, notes = fitting_table(rows, spare, console)
    counted = f"N counted {plan.count.params}, C counted {plan.count.flops}"
    console.print(wrapped(f"{plan.name} ({plan.hash}): {len(plan.cells)} cells, {counted}"), markup=False, soft_wrap=True)
    console.print(table)
    for line in [*notes, *price_lines(plan, price)]:
        console.print(wrapped(line), markup=False, soft_wrap=True)


def price_lines(plan: Plan, price: Price) -> list[str]:
    """FLOPs, hours, energy, money and carbon, with the assumptions behind them."""
    return [
        f"{_flops(plan)}{_counting(plan)}.",
        f"{'Estimated: ' if price.is_estimated else ''}{price.cost.hours}, {_wall_clock(price)}",
        f"{price.cost.bill}, at {', '.join(price.rates.sources)}.",
        *([price.tail] if price.tail else []),
    ]


def _wall_clock(price: Price) -> str:
    if price.wall_seconds is None:
        return "wall-clock unknown: the Ray cluster, which has not been asked, gives as many workers as it has room for."
    wall = f"about {format_duration(price.wall_seconds)} with {price.workers} workers"
    return f"{wall} on {price.cost.device} (longest first, one cell a worker; start-up not counted)."


def fitting_table(rows: Sequence[Mapping[str, str]], spare: Sequence[str], console: Console) -> tuple[Table, list[str]]:
    """The table with as many columns as the width has room for, and what to say of the others."""
    names = list(rows[0])
    constant = [name for name in spare if name in names and len({row[name] for row in rows}) == 1]
    dropped: list[str] = []
    for name in [*constant, *(name for name in spare if name not in constant), None]:
        table = _table(rows, [n for n in names if n not in dropped])
        if name is None or Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width:
            break
        if name in names:
            dropped.append(name)
    same = ", ".join(f"{name} {rows[0][name]}" for name in dropped if name in constant and len(rows) > 1)
    missing = ", ".join(name for name in dropped if name not in constant)
    notes = [f"The same for all cells: {same}."] if same else []
    return table, [*notes, *([f"Left out for want of width: {missing}."] if missing else [])]


def _table(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in names:
        table.add_column(name, justify="left" if name == "key" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[name] for name in names))
    return table


def _plan_row(cell: Cell, count: CountSpec, price: Price) -> dict[str, str]:
    n = cell.num_params(count)
    return {
        "key": cell.key,
        "width": f"{cell.shape.width}x{cell.shape.depth}",
        "N": format_count(n),
        "D": format_count(cell.tokens),
        "C": f"{cell.flops(count):.2g}",
        "batch": format_count(cell.batch_tokens),
        "steps": f"{cell.steps:,}",
        "lr": f"{cell.hidden_lr:.2g}",
        "tokens/N": f"{cell.tokens / n:.1f}",
        "epochs": f"{cell.epochs:.2g}",
        "seed": str(cell.seed),
        "estimated minutes" if price.is_estimated else "minutes": _minutes(cell.key, price),
    }


def _minutes(key: str, price: Price) -> str:
    return f"{'~' if key in price.interpolated else ''}{price.minutes[key]:.2f}"


def _flops(plan: Plan) -> str:
    """Training FLOPs of the cells as they are trained, and what they would be without shared trunks."""
    each, shared = sum(c.flops(plan.count) for c in plan.cells), plan.shared_flops(plan.count)
    if not any(len(cells) > 1 for cells in plan.siblings.values()):
        return f"{each:.3g} FLOPs, no trunk is shared"
    return f"{shared:.3g} FLOPs with shared trunks, {each:.3g} ({each / shared:.2f} times as many) without"


def _counting(plan: Plan) -> str:
    """How the FLOPs of architectures of transformers were found."""
    shapes = [cell.shape for cell in plan.cells if isinstance(cell.shape, ModuleShape)]
    ways = {"formula": "6 N_matmul + 12 depth d T, as torch's FlopCounterMode counts", "counter": "by torch's FlopCounterMode"}
    found = sorted({f"{shape.architecture} {ways[shape.counts.flops_by]}" for shape in shapes})
    return f"; FLOPs per token of {', of '.join(found)}" if found and plan.count.flops == "attention" else ""
