"""Cells that are asked the problems of their task after their record was written, or as their training ends."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from scalesweep.plan.cell import Cell
from scalesweep.points.answers import Answers
from scalesweep.run.corpora import OpenCorpus, open_corpora
from scalesweep.run.store.answers import write_answers
from scalesweep.run.store.store import Store
from scalesweep.train.data.tasks import ProblemSet
from scalesweep.train.device import device_name, prepare_device
from scalesweep.train.gradient import Execution, autocast_of
from scalesweep.train.loop import Hooks, train
from scalesweep.train.model.export import load_weights, model_with
from scalesweep.train.pack import Run
from scalesweep.train.probe import answer
from scalesweep.version import __version__


def answers_of(
    cell: Cell,
    weights: Mapping[str, Tensor],
    problems: ProblemSet,
    device: torch.device,
    after_part: Callable[[], None] = lambda: None,
) -> Answers:
    """What the cell with these weights (by name, without a run axis) says of a problem set."""
    return answer(model_with(cell, weights).to(device), problems, autocast_of(cell, device), after_part)


def keep_answers(store: Store, cell: Cell, problems: ProblemSet, answers: Answers, device: torch.device) -> None:
    """Write the answers beside the cell's record."""
    where = {"device": device_name(device), "torch": torch.__version__, "scalesweep": __version__}
    write_answers(store.directory, cell.key, problems.name, answers, problems.digest, where)


def answer_kept(store: Store, cells: Sequence[Cell], device: str, say: Callable[[str], None]) -> None:
    """Ask cells with a record the problems of their task, from their kept weights; without any they are trained again.

    Args:
        store: the sweep.
        cells: of corpora that state problems.
        device: cpu or cuda, as the cells were trained.
        say: takes lines on what is being done.
    """
    where, corpora, spec = prepare_device(device), open_corpora(store, say), store.plan_file.settings().train
    for cell in cells:
        opened = corpora[cell.corpus_hash]
        problems = opened.problems(cell.shape.context)
        assert problems is not None
        weights = _kept(store.weights(cell.key), cell)
        if weights is None:
            say(f"{cell.key} has no weights and is trained again for its answers; its record stays as it is.")
            weights = _trained_again(cell, opened, Execution(where, spec.micro_batch, fast=spec.fast, compiles=spec.compiles))
        if weights is None:
            say(f"{cell.key} diverged this time, as it can on another device, and has no answers.")
            continue
        keep_answers(store, cell, problems, answers_of(cell, weights, problems, where), where)


def _kept(path: Path, cell: Cell) -> dict[str, Tensor] | None:
    """The kept weights of a cell; None where there are none, or damaged ones."""
    try:
        weights = load_weights(path)
        model_with(cell, weights)
    except (FileNotFoundError, SafetensorError, KeyError, RuntimeError):
        return None
    return weights


def _trained_again(cell: Cell, opened: OpenCorpus, execution: Execution) -> dict[str, Tensor] | None:
    """The trained parameters of a cell, from its first step: those of its record, bit for bit on CPUs of one kind."""
    found: list[dict[str, Tensor]] = []
    hooks = Hooks(on_weights=lambda run, weights: found.append(weights))
    train([Run(cell)], opened.train, opened.validation, execution, hooks)
    return found[0] if found else None
