"""Whether a training pays for torch's compiler: what compiling takes here, and what it saves.

Code is compiled for one width and number of runs, of several runs for one depth too, and for every batch. That takes most of a
minute the first time, seconds where the code is in the user's cache, and next to nothing in a process that has it; what it
saves is up to the device. Both are measured whenever something is compiled and kept beside the code, a file for each kind of
step. Before that they are the estimates below.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from scalesweep.errors import DataError
from scalesweep.files import cache_home, digest, write_json
from scalesweep.plan.cell import Cell
from scalesweep.train.device import device_name
from scalesweep.train.model import decoder, products
from scalesweep.train.optim import adamw
from scalesweep.units import format_plain, plural

RATIO = 0.57
"""Time of a compiled step over that of the step as it is, before it was measured. Modelled from kernels and bytes for an H100
(`scripts/bench_kernels.py`) and never timed: .54, .58 and .69 of single runs of 228k, 3.3M and 31M parameters at a vocabulary
of 256, .52 and .68 of 7M and 44M at 8,192, .44 and .35 of packs of 16."""
COLD_SECONDS = 40.0
"""What compiling takes where nothing was compiled before. A judgement: 20 to 60 s, by the processor."""
WARM_SECONDS = 5.0
"""The same where the code is in the user's cache. A judgement."""

_CODE = decoder.__file__, products.__file__, adamw.__file__
"""What decides on the code of a step's parts."""
Source = Literal["cold", "warm", "loaded"]
"""Where code came from: it was compiled, or was in the user's cache, or in the process already."""
_loaded: set[str] = set()
"""Kinds of steps whose code this process has."""


@dataclass(frozen=True)
class Outlook:
    """What compiling one kind of step is expected to take and to give on this machine."""

    seconds: float
    """To have the code now."""
    again: float
    """To take it from the cache, as later trainings do."""
    ratio: float
    """Time of a compiled step over that of the step as it is."""
    seconds_from: str
    """Where `seconds` comes from, in words; so of `ratio` below."""
    ratio_from: str


def pays(steps: int, step_seconds: float, further: Sequence[int], outlook: Outlook) -> bool:
    """Whether compiling makes trainings end earlier, all of them together.

    Args:
        steps: that this training has to go.
        step_seconds: of the step as it is.
        further: steps of each further training that then finds the code in the cache, and takes it where that alone pays.
        outlook: what compiling takes and gives.
    """
    saved = step_seconds * (1.0 - outlook.ratio)
    later = sum(max(0.0, each * saved - outlook.again) for each in further)
    return steps * saved + later > outlook.seconds


def describe(steps: int, step_seconds: float, further: Sequence[int], outlook: Outlook) -> str:
    """What `pays` weighs, in words."""
    more = f" and {plural(len(further), 'training')} like it" if further else ""
    return (
        f"{steps:,} steps of {format_plain(1e3 * step_seconds)} ms{more}, at {format_plain(outlook.ratio)} of the time "
        f"({outlook.ratio_from}), for {format_plain(outlook.seconds)} s of compiling ({outlook.seconds_from})"
    )


def kind_of(cells: Sequence[Cell], device: torch.device) -> dict[str, Any]:
    """What decides on the code of these runs' layers and optimizer, and on what it saves, but for the batch."""
    first = cells[0]
    return {
        "shape": dataclasses.asdict(first.shape),
        "residual_scale": first.residual_scale,
        "runs": len(cells),
        "precision": first.precision,
        "optimizer": first.optimizer,
        "decays": any(cell.weight_decay or cell.head_weight_decay for cell in cells),
        "device": device_name(device),
        "torch": torch.__version__,
        "code": digest(b"".join(Path(file).read_bytes() for file in _CODE)),
    }


def outlook_of(kind: Mapping[str, Any], capture_seconds: float) -> Outlook:
    """By what earlier compilations took and saved; with the code in the process it is `capture_seconds`, another capture."""
    known = _read(_path(kind))
    ratio, ratio_from = (known.ratio, "as measured before") if known else (RATIO, "modelled")
    again = known.warm_seconds if known and known.warm_seconds else WARM_SECONDS
    if _name(kind) in _loaded:
        return Outlook(capture_seconds, again, ratio, "the code is loaded", ratio_from)
    if known:
        return Outlook(again, again, ratio, "as before" if known.warm_seconds else "estimated, the code is kept", ratio_from)
    here = kind["device"], kind["torch"]
    others = [each.cold_seconds for each in _all_known() if each.made == here and each.cold_seconds]
    if others:
        return Outlook(statistics.median(others), again, ratio, "as other kinds took here", ratio_from)
    return Outlook(COLD_SECONDS, again, ratio, "estimated", ratio_from)


def keep(kind: Mapping[str, Any], seconds: float, source: Source, step_seconds: float, compiled_step_seconds: float) -> None:
    """Keep what compiling took and gave; a cache that cannot be written is done without."""
    _loaded.add(_name(kind))
    path = _path(kind)
    if path is None:
        return
    known = _read(path)
    taken = {"cold": known.cold_seconds if known else None, "warm": known.warm_seconds if known else None}
    if source != "loaded":
        taken[source] = seconds
    steps = {"step_seconds": step_seconds, "compiled_step_seconds": compiled_step_seconds}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"kind": kind, "seconds": taken, **steps, "measured": time.time()})


@dataclass(frozen=True)
class _Known:
    """What is kept of a kind of step."""

    made: tuple[str, str]
    """On which device, with which torch."""
    cold_seconds: float | None
    warm_seconds: float | None
    ratio: float


def _name(kind: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()[:16]


def _path(kind: Mapping[str, Any]) -> Path | None:
    """Where numbers of this kind are kept; None where there is no place of this user's own."""
    with contextlib.suppress(DataError):
        return cache_home() / "compiled" / f"{_name(kind)}.json"
    return None


def _all_known() -> list[_Known]:
    with contextlib.suppress(DataError, OSError):
        return [known for path in sorted((cache_home() / "compiled").glob("*.json")) if (known := _read(path))]
    return []


def _read(path: Path | None) -> _Known | None:
    """What the file says; None of one that is not there or not whole."""
    if path is None:
        return None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        value = json.loads(path.read_text())
        cold, warm = (None if (s := value["seconds"][source]) is None else float(s) for source in ("cold", "warm"))
        ratio = value["compiled_step_seconds"] / value["step_seconds"]
        if math.isfinite(ratio) and ratio > 0 and all(s is None or s > 0 for s in (cold, warm)):
            return _Known((value["kind"]["device"], value["kind"]["torch"]), cold, warm, ratio)
    return None
