"""How far a sweep is, derived from the store's files: workers, speed, time left, failures. Nothing is claimed or written."""

import contextlib
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.plan.cell import Cell
from scalesweep.plan.cost import Work, evaluation_steps, wall_seconds
from scalesweep.plan.flops import flops_per_token
from scalesweep.plan.grid import Device
from scalesweep.plan.plan import Plan
from scalesweep.run.store.contents import CurveEnd
from scalesweep.run.store.measured import Measured, read_measured
from scalesweep.run.store.pool import is_pooled
from scalesweep.run.store.store import FINISHED, State, Store
from scalesweep.settings.plan import CountSpec


@dataclass(frozen=True)
class WorkerLine:
    """One live worker, by the claims that it holds."""

    host: str
    pid: int
    cells: tuple[str, ...]
    """Keys of the cells that it trains: several are a pack."""
    step: int
    """Finished steps of its first cell: those of the curve's last point and those that its speed has added since; of a cell
    that goes on, those it goes on from until its curve has a new point."""
    steps: int
    tokens_per_second: float | None
    """Between the last two points of the curve, which may be of an earlier worker; None before the first one."""
    flops_per_second: float | None
    heartbeat_seconds: float
    """Age of its youngest heartbeat."""


@dataclass(frozen=True)
class Failure:
    """A failed cell."""

    key: str
    reason: str
    """Last line of the traceback."""
    logs: tuple[str, ...]
    """Files in DIR/logs that name the cell."""


@dataclass(frozen=True)
class Progress:
    """All that `status` says of a sweep."""

    measured: Measured
    """What the directory said."""
    flops: float
    """Of all cells by the sweep's convention, each as if trained by itself."""
    finished_flops: float
    workers: tuple[WorkerLine, ...]
    failures: tuple[Failure, ...]
    device: Device
    seconds_spent: float
    """Of devices, in training steps; of cells without a record by their step, so with what they took from a trunk."""
    seconds_left: float | None
    """Of devices, for cells that are waiting, running or lost; None while no speed is known."""
    eta_seconds: float | None
    """Wall-clock with the workers that are there; None where there is none, or no speed is known."""

    @property
    def states(self) -> Mapping[str, State]:
        """State of every cell."""
        return self.measured.states

    @property
    def counts(self) -> Counter[State]:
        """Cells in each state."""
        return self.measured.counts

    @property
    def pooled(self) -> list[str]:
        """Keys of the cells that were taken from a pool."""
        return [key for key, record in self.measured.records.items() if is_pooled(record)]

    @property
    def is_over(self) -> bool:
        """Whether every cell is finished or failed."""
        return self.counts.keys() <= {*FINISHED, "FAILED"}

    @property
    def share(self) -> float:
        """Of the device time that the sweep takes, what is behind it; of FLOPs while no speed is known."""
        if self.seconds_left is None or not self.seconds_spent:
            return self.finished_flops / self.flops
        return self.seconds_spent / (self.seconds_spent + self.seconds_left)

    @property
    def tokens_per_second(self) -> float:
        """Of all workers together."""
        return sum(w.tokens_per_second or 0.0 for w in self.workers)

    @property
    def flops_per_second(self) -> float:
        """Of all workers together, counted `attention`."""
        return sum(w.flops_per_second or 0.0 for w in self.workers)


def progress_of(store: Store) -> Progress:
    """The sweep's progress at this moment.

    Raises:
        StoreError: the directory holds no sweep.
    """
    measured = read_measured(store, with_curves=False)
    plan, records, states = measured.plan, measured.records, measured.states
    cells = {cell.key: cell for cell in plan.cells}
    workers = live_workers(store, cells, states, measured.ends)
    now = {key: (w.step, w.tokens_per_second) for w in workers for key in w.cells}
    stopped = {key: (end.step, end.tokens_per_second) for key, end in measured.ends.items() if key not in now}
    begun = now | stopped
    step_seconds = speeds(records.values(), [(cells[key], speed) for key, (_, speed) in begun.items() if speed])
    left = (
        None if step_seconds is None else _work_left(store, plan, states, {k: s for k, (s, _) in begun.items()}, step_seconds)
    )
    spent = sum(r["times"]["training_seconds"] for r in records.values() if not is_pooled(r))
    spent += sum(step * step_seconds(cells[key]) for key, (step, _) in begun.items()) if step_seconds else 0.0
    return Progress(
        measured=measured,
        flops=sum(c.flops(plan.count) for c in plan.cells),
        finished_flops=sum(cells[key].flops(plan.count) for key in records),
        workers=workers,
        failures=_failures(store, [key for key, state in states.items() if state == "FAILED"]),
        device=_device(measured),
        seconds_spent=spent,
        seconds_left=None if left is None else sum(work.seconds for work in left),
        eta_seconds=wall_seconds(left, len(workers)) if left is not None and (workers or not left) else None,
    )


def live_workers(
    store: Store, cells: Mapping[str, Cell], states: Mapping[str, State], ends: Mapping[str, CurveEnd]
) -> tuple[WorkerLine, ...]:
    """The workers that hold claims.

    Args:
        store: the sweep's directory.
        cells: its cells by key.
        states: of each cell.
        ends: last points of the curves of cells that are in training, where they have some.
    """
    held: dict[tuple[str, int], list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for key in (key for key, state in states.items() if state == "RUNNING"):
        with contextlib.suppress(FileNotFoundError):  # finished meanwhile
            if owner := store.claims.owner(key):
                held[str(owner["host"]), int(owner["pid"])].append((key, owner))
    return tuple(_worker(store, cells, ends, *who, claims) for who, claims in sorted(held.items()))


def _worker(
    store: Store,
    cells: Mapping[str, Cell],
    ends: Mapping[str, CurveEnd],
    host: str,
    pid: int,
    claims: Sequence[tuple[str, Mapping[str, Any]]],
) -> WorkerLine:
    keys = tuple(key for key, _ in claims)
    cell, age = cells[keys[0]], min(float(owner["age"]) for _, owner in claims)
    last = ends.get(cell.key)
    speed = None if last is None else last.tokens_per_second
    step = 0 if last is None else _step(store, cell, last, claims[0][1]["number"], (speed or 0.0) / len(keys))
    flops = None if speed is None else speed * flops_per_token(cell.shape, "attention")
    return WorkerLine(host, pid, keys, min(step, cell.steps), cell.steps, speed, flops, max(0.0, age))


def _step(store: Store, cell: Cell, last: CurveEnd, claim: int, tokens_per_second: float) -> int:
    """Finished steps of a cell trained under a claim, by the last point of its curve, which may be of an earlier one."""
    if last.claim == claim:
        return int(last.step + tokens_per_second * last.age / cell.batch_tokens)
    return last.step if store.checkpoint(cell.key).exists() else 0


StepSeconds = Callable[[Cell], float]


def speeds(records: Iterable[Mapping[str, Any]], running: Iterable[tuple[Cell, float]]) -> StepSeconds | None:
    """Seconds of a device for a step of a cell, from what was measured; None where nothing was.

    Of a shape and batch that was measured, the median; of another one, the FLOP/s of the measured one nearest in FLOPs a step.

    Args:
        records: of finished cells.
        running: cells in training, or stopped in it, with their tokens per second.
    """
    found: dict[Any, list[float]] = defaultdict(list)
    flops: dict[Any, float] = {}
    for record in records:
        times, row = record["times"], record["row"]
        steps = row["steps"] - times["shared_steps"]
        if record["state"] == "COMPLETE" and steps > 0 and times["training_seconds"] > 0:
            kind = (row["width"], row["depth"], row["context"], row["batch_tokens"])
            found[kind].append(times["training_seconds"] / steps)
            flops[kind] = row["c"] / row["steps"]
    for cell, tokens_per_second in running:
        found[_kind(cell)].append(cell.batch_tokens / tokens_per_second)
        flops[_kind(cell)] = cell.flops(CountSpec()) / cell.steps
    if not found:
        return None

    def seconds(cell: Cell) -> float:
        kind, mine = _kind(cell), cell.flops(CountSpec()) / cell.steps
        if kind in found:
            return statistics.median(found[kind])
        # FLOP/s fall towards small models, slowly: the neighbour in FLOPs is the best guess.
        near = min(found, key=lambda k: abs(math.log(flops[k] / mine)))
        return statistics.median(found[near]) * mine / flops[near]

    return seconds


def _kind(cell: Cell) -> tuple[int, int, int, int]:
    return (cell.shape.width, cell.shape.depth, cell.shape.context, cell.batch_tokens)


def _work_left(
    store: Store, plan: Plan, states: Mapping[str, State], steps: Mapping[str, int], step_seconds: StepSeconds
) -> list[Work]:
    """What is left to train, cells that run now first, the others in the order of claims.

    Args:
        store: the sweep's directory.
        plan: its cells.
        states: of each cell.
        steps: finished ones of cells that run now, and of those that somebody trained before.
        step_seconds: as measured.
    """
    works = []
    if not {"WAITING", "RUNNING", "LOST"} & set(states.values()):
        return []  # trunks and ranks of many cells take seconds
    for siblings in plan.siblings.values():
        open_cells = [c for c in siblings if states[c.key] in ("WAITING", "RUNNING", "LOST")]
        snapshots = [int(path.stem) for path in store.snapshots(siblings[0].trunk)] if open_cells else []
        leader = max(open_cells, key=lambda c: (states[c.key] == "RUNNING", c.steps, c.key), default=None)
        for cell in open_cells:
            assert leader is not None
            leader_step = steps.get(leader.key, 0) if states[leader.key] == "RUNNING" else 0
            start = _start(store, cell, snapshots, steps.get(cell.key, 0), states[cell.key] == "RUNNING")
            works.append((cell, _work(cell, start, leader, leader_step, step_seconds(cell))))
    rank = {cell.key: i for i, cell in enumerate(plan.longest_first)}
    return [work for _, work in sorted(works, key=lambda pair: (states[pair[0].key] != "RUNNING", rank[pair[0].key]))]


def _start(store: Store, cell: Cell, snapshots: Iterable[int], step: int, runs: bool) -> int:
    """The step from which a cell goes on: its own, if it runs or has a checkpoint, or that of a state of its trunk."""
    if runs:
        return step
    trunk = max((s for s in snapshots if s <= cell.branch_step), default=0)
    return max(trunk, step) if store.checkpoint(cell.key).exists() else trunk


def _work(cell: Cell, start: int, leader: Cell, leader_step: int, seconds: float) -> Work:
    """A cell waits where its leader is on its way to the branch step and further than the cell could start itself."""
    if cell.key != leader.key and start < cell.branch_step and leader_step <= cell.branch_step <= leader.branch_step:
        after = (cell.branch_step - leader_step) * seconds
        return Work(cell.key, (cell.decay_steps + evaluation_steps(cell)) * seconds, leader.key, after)
    return Work(cell.key, (max(0, cell.steps - start) + evaluation_steps(cell)) * seconds)


def _failures(store: Store, keys: Sequence[str]) -> tuple[Failure, ...]:
    logs = logs_of(store, keys) if keys else {}
    return tuple(Failure(k, store.claims.reason(k) or "no reason was left", tuple(map(str, logs[k]))) for k in keys)


def logs_of(store: Store, keys: Sequence[str]) -> dict[str, list[Path]]:
    """For each cell the files in DIR/logs that name it; every file is read once."""
    found: dict[str, list[Path]] = {key: [] for key in keys}
    for path in sorted((store.directory / "logs").glob("**/*")):
        text = path.read_text(errors="replace") if path.is_file() else ""
        for key in (key for key in keys if key in text):
            found[key].append(path)
    return found


def _device(measured: Measured) -> Device:
    """What the sweep is trained on: as set, else as recorded, else what the precision tells (`grid.resolve_precision`)."""
    if (wanted := measured.settings.train.device) != "auto":
        return wanted
    for record in measured.records.values():
        return "cpu" if record["where"]["device"].startswith("CPU") else "cuda"
    return "cuda" if measured.plan.cells[0].precision == "bfloat16" else "cpu"
