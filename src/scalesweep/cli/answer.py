"""Answers for programs: --json puts one document on standard output, and fail_on= turns what was found into an exit code."""

import contextlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scalesweep.cli.command import Given, Option, flag, list_of, one_of
from scalesweep.errors import EXIT_DOUBTED, EXIT_OK, Refused
from scalesweep.version import __version__

if TYPE_CHECKING:  # loaded by who fits or plans
    from scalesweep.analysis.analyse import Analysis
    from scalesweep.fit.sweep_fit import SweepFit
    from scalesweep.plan.plan import Plan
    from scalesweep.run.launch.pricing import Price

SCHEMA = 1
"""Of the document; it grows when a field goes or changes its meaning (docs/ci.md)."""
_DEGREES = ("weak", "limited")


def _codes(text: str) -> tuple[str, ...]:
    from scalesweep.report.review.warnings import meanings

    return list_of(one_of(*meanings(), *_DEGREES))(text)


JSON = flag("--json", "One JSON document on standard output (docs/ci.md); what is said for people goes to standard error.")
FAIL_ON = Option[tuple[str, ...]](
    "fail_on",
    _codes,
    (),
    "Exit with 4 where the law has one of these: codes of warnings, weak, limited (docs/ci.md).",
    "A08,weak",
)


@dataclass(frozen=True)
class Answer:
    """What a command found, for programs."""

    content: Mapping[str, Any]
    """Fields of its document, JSON-ready."""
    code: int = EXIT_OK
    doubts: frozenset[str] = frozenset()
    """What of it fail_on= may name."""


def answered(run: Callable[[Given], Answer]) -> Callable[[Given], int]:
    """The command, ended by its document where --json asks for it, and by exit code 4 where fail_on= names what was found."""

    def carried_out(given: Given) -> int:
        wants = bool(given.values.get(JSON.name))
        with contextlib.redirect_stdout(sys.stderr) if wants else contextlib.nullcontext():
            answer = run(given)
        failed = [name for name in given.values.get(FAIL_ON.name, ()) if name in answer.doubts]
        code = EXIT_DOUBTED if failed and answer.code == EXIT_OK else answer.code
        if failed:
            print(f"scalesweep: the law has {', '.join(failed)}, which fail_on names.", file=sys.stderr)
        if wants:
            whole = {"schema": SCHEMA, "scalesweep": __version__, "exit_code": code, "failed_on": failed, **answer.content}
            print(json.dumps(whole, indent=1, allow_nan=False), flush=True)
        return code

    return carried_out


def doubts_of(analysis: "Analysis | None") -> frozenset[str]:
    """Codes of warnings; `weak` where no joint law is identified; `limited` where anything is said against one.

    Args:
        analysis: with the laws of its families, where it has some; None where the points carry no law.
    """
    if analysis is None:
        return frozenset(_DEGREES)
    fits = [analysis.fit, *(family.fit for family in analysis.families.families)] if analysis.families else [analysis.fit]
    return frozenset().union(*map(_doubts_of_fit, fits))


def _doubts_of_fit(fit: "SweepFit | Refused") -> frozenset[str]:
    from scalesweep.fit import Status

    law = None if isinstance(fit, Refused) else fit.preferred
    if isinstance(fit, Refused) or law is None:
        codes = [] if isinstance(fit, Refused) else [finding.code for finding in fit.findings]
        return frozenset([*codes, *_DEGREES])
    codes = [finding.code for finding in fit.findings]
    if law.status is not Status.IDENTIFIED:
        return frozenset([*codes, *_DEGREES])
    return frozenset([*codes, *(["limited"] if codes or law.messages else [])])


def plan_content(plan: "Plan", device: str, price: "Price") -> dict[str, Any]:
    """A plan with its cells and its price."""
    cells = [
        {
            "key": cell.key,
            "n": cell.num_params(plan.count),
            "d": cell.tokens,
            "c": cell.flops(plan.count),
            "width": cell.shape.width,
            "depth": cell.shape.depth,
            "seed": cell.seed,
            "steps": cell.steps,
            "batch_tokens": cell.batch_tokens,
            "lr": cell.hidden_lr,
            "epochs": cell.epochs,
            "minutes": price.minutes[cell.key],
            "interpolated": cell.key in price.interpolated,
            "declared": dict(plan.columns.get(cell.key, {})),
        }
        for cell in plan.cells
    ]
    cost = {
        "device_hours": price.cost.device_hours,
        "wall_seconds": price.wall_seconds,
        "workers": price.workers,
        "together": list(price.together),
        "kwh": price.cost.kwh,
        "usd": price.cost.usd,
        "kg_co2": price.cost.kg_co2,
        "rates": list(price.rates.sources),
        "estimated": price.is_estimated,
    }
    return {
        "name": plan.name,
        "hash": plan.hash,
        "device": device,
        "count": {"params": plan.count.params, "flops": plan.count.flops},
        "flops": plan.shared_flops(plan.count),
        "price": cost,
        "warnings": list(plan.warnings),
        "cells": cells,
    }


def finite(values: Sequence[float]) -> list[float | None]:
    """The numbers, with null for what is none, such as the loss of a run that diverged."""
    return [float(value) if math.isfinite(value) else None for value in values]
