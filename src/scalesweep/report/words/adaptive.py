"""The rounds of an adaptive sweep as sentences and as a table, for the terminal, status and the page."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from scalesweep.analysis.forecast.dated import Prediction
from scalesweep.analysis.forecast.rounds import End, Log, Round, Sealed
from scalesweep.errors import Refused
from scalesweep.units import format_count, format_number, plural

_REASONS = {
    "reached": "as narrow as asked",
    "stalled": "two rounds changed its half-width by less than 10 % each",
    "budget": "the budget buys no further round and its replicate",
    "no cells": "there are no further cells to propose",
}


def describe_round(made: Round, log: Log, number: int) -> str:
    """What is known, and what is measured next, as a line for the terminal."""
    what = plural(len(made.cells), "cell")
    known = f"Round {number}: {_reading(made.reading, log)} after {format_number(made.spent_flops)} FLOPs"
    if made.kind == "replicate":
        return f"{known}: {_REASONS[made.reason or 'reached']}. The last {what} once more, with other seeds."
    expected = f", for {log.goal.write(made.expected)} expected" if made.expected is not None else ""
    return f"{known}. Next {what} of {format_number(made.flops)} FLOPs{expected}: {_listed(made)}."


def describe_end(end: End, log: Log) -> str:
    """What is reported, and why there is no further round."""
    rounds = f"{plural(len(log.rounds), 'round')}, {format_number(end.spent_flops)} of {format_number(log.budget_flops)} FLOPs"
    reached = "Reached" if end.reason == "reached" else "Not reached"
    why = "" if end.reason == "reached" else f" It ended because {_REASONS[end.reason]}."
    replicated = bool(log.rounds) and log.rounds[-1].kind == "replicate"
    origin = "with a replicate of the last rung" if replicated else "of the grid alone, which was fixed beforehand"
    asked = f"asked was {log.goal.write(log.goal.half_width)}"
    return f"{reached} in {rounds}: {_reading(end.reading, log)} {origin}; {asked}.{why}{f' {end.note}' if end.note else ''}"


def rounds_lines(log: Log, losses: Mapping[tuple[float, float, int], float]) -> list[str]:
    """One line a round, and how it ended, for `status`.

    Args:
        log: the rounds.
        losses: of the measured cells, by N, D and seed.
    """
    first, *last = rounds_summary(log)
    lines = [first]
    for i, made in enumerate(log.rounds, start=1):
        lines.append(f"{describe_round(made, log, i)} {_outcome(made, losses)}".rstrip())
    return [*lines, *last]


def rounds_summary(log: Log) -> list[str]:
    """What was asked for, and how it ended."""
    budget = format_number(log.budget_flops)
    until = "" if log.end else " until now"
    asked = f"Adaptive sweep for {log.goal.words} with {budget} FLOPs: {plural(len(log.rounds), 'round')}{until}."
    return [asked, describe_end(log.end, log)] if log.end else [asked]


def rounds_rows(log: Log) -> list[dict[str, Any]]:
    """The table of rounds: what was known before each, what was measured, and after the last what is reported."""
    rows = [
        {
            "round": i,
            "FLOPs before": format_number(made.spent_flops),
            "interval before": _interval(made.reading),
            "half-width": _width(made.reading, log),
            "measured": "last cells again" if made.kind == "replicate" else _listed(made),
            "expected half-width": "–" if made.expected is None else log.goal.write(made.expected),
        }
        for i, made in enumerate(log.rounds, start=1)
    ]
    if log.end is not None:
        told = {"interval before": _interval(log.end.reading), "half-width": _width(log.end.reading, log)}
        spent = format_number(log.end.spent_flops)
        rows.append({"round": "reported", "FLOPs before": spent, **told, "measured": "–", "expected half-width": "–"})
    return rows


def sealed_rows(log: Log, losses: Mapping[tuple[float, float, int], float]) -> list[dict[str, Any]]:
    """The table of cells that rounds chose: loss and interval predicted before each was measured, and what was measured."""
    rows = []
    for i, made in enumerate(log.rounds, start=1):
        for cell in made.cells:
            found = losses.get((cell.n, cell.d, cell.seed))
            known = isinstance(cell.loss, Prediction)
            rows.append(
                {
                    "round": i,
                    "N": format_count(cell.n),
                    "D": format_count(cell.d),
                    "seed": cell.seed,
                    "predicted": format_number(cell.loss.value) if isinstance(cell.loss, Prediction) else "–",
                    "interval": _interval(cell.loss) if known else "none",
                    "measured": "–" if found is None else format_number(found),
                    "inside": "–" if found is None or not known else "yes" if _holds(cell, found) else "no",
                }
            )
    return rows


def _outcome(made: Round, losses: Mapping[tuple[float, float, int], float]) -> str:
    """How many of the sealed intervals held what was measured."""
    told = [(cell, losses[cell.n, cell.d, cell.seed]) for cell in made.cells if (cell.n, cell.d, cell.seed) in losses]
    judged = [(cell, loss) for cell, loss in told if isinstance(cell.loss, Prediction)]
    if not judged:
        return ""
    return f"{sum(_holds(cell, loss) for cell, loss in judged)} of {len(judged)} losses lay in the intervals sealed before."


def _holds(cell: Sealed, loss: float) -> bool:
    return isinstance(cell.loss, Prediction) and cell.loss.low <= loss <= cell.loss.high


def _listed(made: Round) -> str:
    """The cells by size and tokens, with how often each."""
    counts = Counter((format_count(cell.n), format_count(cell.d)) for cell in made.cells)
    return ", ".join(f"{n} x {d}{f' ({times} times)' if times > 1 else ''}" for (n, d), times in counts.items())


def _reading(reading: Prediction | Refused, log: Log) -> str:
    name = "a" if log.goal.target_flops is None else f"loss at {format_number(log.goal.target_flops)} FLOPs"
    if isinstance(reading, Refused):
        return f"no interval of {name} ({reading.reason.rstrip('.')})"
    return f"{name} = {format_number(reading.value)} {_interval(reading)}, {_width(reading, log)},"


def _interval(reading: Prediction | Refused) -> str:
    return "none" if isinstance(reading, Refused) else str(reading.interval)


def _width(reading: Prediction | Refused, log: Log) -> str:
    width = log.goal.width(reading)
    return log.goal.write(width) if math.isfinite(width) else "–"
