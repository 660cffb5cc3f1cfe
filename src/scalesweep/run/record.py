"""The record of a cell: what was measured, of what, by which versions, on which device, and at what cost."""

import dataclasses
import math
import platform
import time
from importlib.metadata import version
from typing import Any

import torch

from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import ModuleShape, flops_per_token
from scalesweep.run.corpora import OpenCorpus
from scalesweep.run.job import Job
from scalesweep.run.store.pool import processor_name
from scalesweep.settings.data import PLACES
from scalesweep.settings.plan import CountSpec
from scalesweep.train.data import check_entropy, count_windows
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.data.validation import ValidationSet
from scalesweep.train.data.windows import part_windows
from scalesweep.train.device import device_name
from scalesweep.train.measure import peak_flops
from scalesweep.train.pack import Outcome
from scalesweep.version import __version__, commit_words


def make_record(
    cell: Cell,
    outcome: Outcome,
    device: torch.device,
    opened: OpenCorpus,
    started: float,
    job: Job,
    peak_memory: int,
) -> dict[str, Any]:
    """The immutable outcome of a cell; on CPUs of one kind only `times` and `where` differ between two measurements.

    `peak_memory` is that of the training, in bytes: what is measured here once a process would take more.
    """
    corpus = opened.corpus
    further = {name: further_loss(loss, opened.sets[name], cell) for name, loss in outcome.further.items()}
    entropy = corpus.window_entropy(cell.shape.context)
    return {
        "key": cell.key,
        "state": outcome.state,
        "loss": _finite(outcome.loss),
        "loss_se": _finite(outcome.loss_se),
        "last_finite_loss": _finite(outcome.last_finite_loss),
        "entropy": entropy,
        "below_entropy": "" if entropy is None else check_entropy(outcome.loss, outcome.loss_se, entropy),
        "trunk": cell.trunk,
        "cell": dataclasses.asdict(cell),
        "row": cell.row(CountSpec()),
        "bytes_per_token": corpus.bytes_per_token,
        **({"parts": _parts(cell, corpus)} if corpus.parts else {}),
        **({"validation": further} if further else {}),
        "where": {
            "device": device_name(device),
            **({"processor": processor_name()} if device.type == "cpu" else {}),
            "host": platform.node(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "scalesweep": f"{__version__}{commit_words()}",
            **({"transformers": version("transformers")} if _is_of_library(cell) else {}),
        },
        "times": {"started": started, "ended": time.time(), **_times(cell, outcome, device, job, peak_memory)},
    }


def _parts(cell: Cell, corpus: Corpus) -> list[dict[str, Any]]:
    """Of each part of a mixture its tokens D as they were visited, U and D / U."""
    assert cell.selection is not None
    T, places = cell.shape.context, cell.selection.places
    visited = (part_windows(places, cell.seed, cell.steps * cell.batch_sequences) * T).tolist()
    unique = cell.selection.unique_tokens(corpus.train_tokens, T)
    return [
        {"name": part.name, "hash": part.hash, "weight": p / PLACES, "tokens": d, "unique_tokens": u, "epochs": d / u}
        for part, p, d, u in zip(corpus.parts, places, visited, unique, strict=True)
    ]


def _is_of_library(cell: Cell) -> bool:
    return isinstance(cell.shape, ModuleShape) and not cell.shape.is_custom


def further_loss(loss: tuple[float, float], of: ValidationSet, cell: Cell) -> dict[str, Any]:
    """The loss on a further validation set, in nats per token, and what it was measured on."""
    context = cell.shape.context
    tokens = min(-(-cell.validation_tokens // context), count_windows(of.num_tokens, context)) * context
    return {
        "loss": _finite(loss[0]),
        "loss_se": _finite(loss[1]),
        "text": of.text,
        "tokens": tokens,
        "bytes_per_token": of.bytes_per_token,
    }


def _times(cell: Cell, outcome: Outcome, device: torch.device, job: Job, peak_memory: int) -> dict[str, Any]:
    """What the cell cost, and how well the device was used; of the steps that were trained for this cell alone."""
    steps = (outcome.curve[-1]["step"] if outcome.curve else 0) - outcome.shared_steps
    speed = max(0, steps) * cell.batch_tokens / outcome.seconds if outcome.seconds > 0 else 0.0
    flops = speed * flops_per_token(cell.shape, "attention")
    return {
        "training_seconds": outcome.seconds,
        "shared_steps": outcome.shared_steps,
        "pack": len(job.runs),
        "devices": job.ranks,
        "tokens_per_second": speed,
        "flops_per_second": flops,
        "flops_share": flops / peak_flops(device, cell.precision),
        "peak_memory_bytes": peak_memory,
    }


def _finite(number: float) -> float | None:
    """The number, or None (JSON has no nan)."""
    return number if math.isfinite(number) else None
