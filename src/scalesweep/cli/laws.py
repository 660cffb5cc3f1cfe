"""The laws in a terminal, as tables; where the output is no terminal, the plain text that report.md holds too."""

import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scalesweep.analysis.analyse import Analysis
from scalesweep.cli.tables import output_width
from scalesweep.errors import Refused
from scalesweep.fit import Fit, Status
from scalesweep.fit.sweep_fit import Name, SweepFit
from scalesweep.points.metric import Metric
from scalesweep.report.words.fit import TITLES, closing, contradiction, heading, in_one_line, interval, meaning
from scalesweep.report.words.summary import summary
from scalesweep.units import format_number, format_share

_WIDE = 100
"""Columns from which the meaning of the parameters is shown beside them."""
_COLOURS = {
    Status.IDENTIFIED: "green",
    Status.NOT_IDENTIFIED: "red",
    Status.AT_BOUND: "red",
    Status.REJECTED: "red",
    Status.NO_TREND: "red",
}


def print_analysis(analysis: Analysis) -> None:
    """Laws, approaches, rivals, back-test, warnings."""
    if not sys.stdout.isatty() or analysis.families is not None:
        print(summary(analysis), flush=True)
        return
    from scalesweep.report.words.analysis import allocation_text, back_test_text, beside, in_words, rivals_text

    blocks = [in_words(analysis), allocation_text(analysis), rivals_text(analysis)]
    if not isinstance(analysis.tournament, Refused):
        blocks.append(back_test_text(analysis.tournament.tested))
    for block in beside(analysis):
        print(f"{block}\n")
    _print(analysis.fit, blocks)


def print_fit(fit: SweepFit) -> None:
    """The laws and warnings."""
    if sys.stdout.isatty():
        _print(fit, [])
    else:
        print(summary(fit), flush=True)


def _print(fit: SweepFit, blocks: list[str]) -> None:
    console = Console(highlight=False, width=output_width())
    for block in contradiction(fit):
        console.print(Text(f"{block}\n", style="bold red"))
    beside = {name: other for name in fit.order if (other := fit.beside(name))}
    for name in (name for name in fit.order if name not in beside.values()):
        law = fit[name]
        console.print(Text(heading(fit, name), style="bold"))
        console.print(Text(f"  {law.law.formula()}"))
        console.print(Text(" ".join((law.status.value, *law.messages)), style=_COLOURS.get(law.status, "yellow")))
        console.print(_table(name, law, fit.confidence, fit.metric), "")
        if name in beside:
            console.print(Text(in_one_line(fit, beside[name]), style="dim"), "")
    for name, reason in fit.stated_refusals.items():
        console.print(Text(f"{TITLES[name]}: refused. {reason}", style="red"))
    for block in [*blocks, *closing(fit)]:
        console.print(Text(f"\n{block}"))


def _table(name: Name, law: Fit, confidence: float, metric: Metric) -> Table:
    left = f"{len(law.rows)} points ({law.selection}); residual {format_share(law.residual_rms)} rms. {law.intervals}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=left, caption_justify="left", caption_style="dim")
    table.add_column("")
    table.add_column("estimate", justify="right", no_wrap=True)
    table.add_column(f"{confidence:.0%} interval", no_wrap=True)
    has_room = output_width() >= _WIDE
    if has_room:
        table.add_column("meaning", no_wrap=True)
    for parameter, estimate in law.estimates.items():
        meant = [meaning(name, parameter, metric)] if has_room else []
        table.add_row(parameter, format_number(estimate.value), interval(estimate), *meant)
    return table
