"""Answers of cells to the problems of their task: asked where they are missing, read where they are there."""

from collections.abc import Callable, Iterable, Mapping

from scalesweep.files import plain_storage_errors
from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import Device
from scalesweep.points.answers import Answers
from scalesweep.run.launch.device import num_gpus
from scalesweep.run.store.answers import read_answers
from scalesweep.run.store.store import Store
from scalesweep.settings.data import DataSpec
from scalesweep.train.data.tasks import problem_set
from scalesweep.units import plural


def measure_answers(
    store: Store, cells: Iterable[Cell], tasks: Mapping[str, DataSpec], device: Device, say: Callable[[str], None]
) -> None:
    """Ask complete cells without answers: those whose training was asked for them have some.

    Args:
        store: the sweep.
        cells: some of its cells.
        tasks: hash of a corpus -> the source that states its problems.
        device: where the cells were trained.
        say: takes lines on what is being done.
    """
    digests: dict[tuple[str, int], str] = {}
    lacking = []
    for cell in cells:
        place, spec = (cell.corpus_hash, cell.shape.context), tasks[cell.corpus_hash]
        if place not in digests:
            digests[place] = problem_set(spec, cell.shape.context).digest
        record = store.record(cell.key)
        if record and record["state"] == "COMPLETE":
            answers = read_answers(store.directory, cell.key, spec.source, digests[place])
            lacking += [cell] if answers is None else []
    if lacking and device == "cuda" and num_gpus() == 0:  # others train, on machines with GPUs
        say(f"{plural(len(lacking), 'cell')} not asked for answers: no GPU is here; repeat this where one is.")
    elif lacking:
        from scalesweep.run.answers import answer_kept

        say(f"Asking {plural(len(lacking), 'cell')} the problems of their tasks.")
        with plain_storage_errors(store.directory):
            answer_kept(store, lacking, device, say)


def answers_in(store: Store, keys: Iterable[str], task: str) -> list[Answers | None]:
    """The answers of each cell, None where it has none."""
    return [read_answers(store.directory, key, task) for key in keys]
