"""A worker: claims cells of a sweep until none is left, trains each, writes its record.

Run as `python -m scalesweep.worker DIR --device cpu`; launchers start it so. SIGTERM, SIGINT and SIGUSR1 make it write a
checkpoint, release its claim and end, with exit code 130, or 75 after SIGUSR1, which asks to be started again. A directory that
is full, read-only or gone ends it with one line and exit code 2.
"""

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scalesweep import __version__, jobs
from scalesweep.cell import Cell
from scalesweep.config import CountSpec, Settings
from scalesweep.data import Corpus, check_entropy, open_corpus, prepare
from scalesweep.errors import EXIT_AGAIN, EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_OK, ScaleSweepError, StoreError
from scalesweep.files import is_storage_error, plain_storage_errors, storage_sentence
from scalesweep.flops import ModuleShape, flops_per_token
from scalesweep.lease import Lease, LeaseLost, Stop
from scalesweep.model.export import save_weights
from scalesweep.plan import Plan
from scalesweep.store import Claim, Store
from scalesweep.tracker import Tracker, start_tracker
from scalesweep.train.checkpoint import Checkpoint, load_start, save_checkpoint
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, Interrupted, Outcome, Run, train
from scalesweep.train.measure import best_pack, free_memory, is_out_of_memory, peak_flops, peak_memory_bytes, reset_peak_memory

WAIT_SECONDS = 0.5
"""Between two looks for cells that wait for a trunk."""
CANCEL_SECONDS = 1.0
"""Between two looks for a request to cancel."""
LOOK_SECONDS = 5.0
"""Between two looks at all cells for those that others have finished; with many cells that takes a while."""


def or_cancelled(stop: Callable[[], bool], store: Store) -> Callable[[], bool]:
    """`stop`, or that the sweep was cancelled, which is looked for at most once a second."""
    looked, found = -math.inf, False

    def asked() -> bool:
        nonlocal looked, found
        if time.monotonic() - looked > CANCEL_SECONDS:
            looked, found = time.monotonic(), store.is_cancelled()
        return stop() or found

    return asked


def prepare_device(name: str) -> torch.device:
    """The device; on CPU with one thread, which makes results repeatable and small steps fast."""
    if name == "cpu":
        torch.set_num_threads(1)
    return torch.device(name)


Say = Callable[[str], None]
"""Takes one line about progress or trouble."""


def work(store: Store, device: torch.device, stop: Callable[[], bool], say: Say = lambda _: None, workers: int = 1) -> bool:
    """Claim and measure cells, longest first, until none can be claimed; False if `stop`, or a cancelled sweep, ended it.

    Args:
        store: the sweep's directory.
        device: where to train.
        stop: asked after every step.
        say: takes lines for the log.
        workers: how many share the sweep, so that a pack whose size is measured leaves cells to the others.
    """
    corpus, stop = _open_corpus(store, say), or_cancelled(stop, store)
    worker = Worker(store, store.plan(), store.settings(), corpus, (corpus.train(), corpus.validation()), device, stop, say)
    limits = PackLimits(store, worker.settings, device, workers)
    with plain_storage_errors(store.directory):
        left, looked = jobs.unfinished(store, worker.plan), time.monotonic()
        while not stop():
            if job := worker.take(left, limits):
                worker.measure(job, limits)
                mine = {claim.key for claim in job.claims}
                left = [cell for cell in left if cell.key not in mine]
                if time.monotonic() - looked < LOOK_SECONDS:
                    continue
            left, looked = jobs.unfinished(store, worker.plan), time.monotonic()
            if job is None:
                if not any(store.state(cell.key) in jobs.CLAIMABLE for cell in left):
                    return True
                if next(jobs.claimable(store, worker.plan, left), None) is None:
                    time.sleep(WAIT_SECONDS)  # for a trunk that another worker trains
    return False


def _open_corpus(store: Store, say: Say) -> Corpus:
    """The corpus of the sweep, which must be the one that the plan was made with; prepared anew where this machine lacks it."""
    facts = store.sweep()["facts"]
    directory = Path(facts["corpus_directory"])
    corpus = open_corpus(directory) if directory.is_dir() else prepare(store.settings().data, say)
    if corpus.hash != facts["corpus_hash"]:
        raise StoreError(
            f"{corpus.directory} holds corpus {corpus.hash}, the sweep was planned with {facts['corpus_hash']}; "
            "prepare the corpus anew (scalesweep data) or start the sweep in another directory with dir=...."
        )
    return corpus


@dataclass
class PackLimits:
    """How many runs of a kind may be stepped together and in which parts, as far as this process or an earlier one found out.

    What ran out of memory once is in the store (`Store.memory_limits`), by device and shape.
    """

    store: Store
    settings: Settings
    device: torch.device
    workers: int
    found: dict[Any, int] = field(default_factory=dict)
    """By `pack_signature`, as measured."""

    @property
    def never(self) -> bool:
        """Whether every cell goes alone, so that nobody need look for others."""
        pack = self.settings.train.pack
        return pack == 1 or (pack == "auto" and self.device.type == "cpu")

    def of(self, cell: Cell, num_waiting: int) -> int:
        """Largest pack for a cell, of which, itself included, `num_waiting` of its kind can be claimed."""
        signature, spec = jobs.pack_signature(cell), self.settings.train
        if num_waiting == 1:
            return 1
        if signature not in self.found:
            most = spec.pack if spec.pack != "auto" else best_pack(cell, self.device, spec.micro_batch, most=num_waiting)
            self.found[signature] = most
        share = num_waiting if spec.pack != "auto" else math.ceil(num_waiting / self.workers)
        return min(self.found[signature], share, self._limit(cell).get("pack", share))

    def micro_batch(self, cell: Cell) -> int:
        """Sequences per forward pass."""
        asked = self.settings.train.micro_batch or cell.batch_sequences
        return min(asked, cell.batch_sequences, self._limit(cell).get("micro_batch", asked))

    def lower(self, cell: Cell, runs: int, error: Exception) -> str | None:
        """Allow less of the cell's kind than what has just failed, and say what; None where there is nothing left to lower.

        Out of memory: half the micro-batch, which leaves every run as it is; at one sequence, half the pack. Any other
        exception of a pack: every run alone, which tells whose it was.
        """
        micro_batch, size, what = (
            self.micro_batch(cell),
            jobs.size_name(cell),
            f"{runs} runs of {jobs.size_name(cell)} together",
        )
        if not is_out_of_memory(error):
            if runs == 1:
                return None
            self.found[jobs.pack_signature(cell)] = 1
            return f"{what} stopped ({error!r}); at most 1 from now on (train.pack)"
        why = f"not fit into the memory of {self.device}"
        if micro_batch > 1:
            self.store.remember_limit(self._kind(cell), "micro_batch", micro_batch // 2)
            return f"{micro_batch} sequences of {size} do {why}; {micro_batch // 2} at a time from now on (train.micro_batch)"
        if runs == 1:
            return None
        self.store.remember_limit(self._kind(cell), "pack", runs // 2)
        return f"{what} do {why}; at most {runs // 2} from now on (train.pack)"

    def _limit(self, cell: Cell) -> dict[str, int]:
        return self.store.memory_limits().get(self._kind(cell), {})

    def _kind(self, cell: Cell) -> str:
        """What decides whether something fits, for people and, by the digits at its end, exactly."""
        content = json.dumps([dataclasses.asdict(cell.shape), cell.batch_sequences, cell.precision], sort_keys=True)
        identity = hashlib.sha256(content.encode()).hexdigest()[:8]
        batch = f"{cell.batch_sequences} x {cell.shape.context}"
        return f"{device_name(self.device)}: {jobs.size_name(cell)}, batch {batch}, {cell.precision}, {identity}"


@dataclass(frozen=True)
class Job:
    """Cells that this worker holds, all to be stepped together from one step on."""

    claims: list[Claim]
    runs: list[Run]
    micro_batch: int


@dataclass(frozen=True)
class Worker:
    """What stays the same while a process works on a sweep."""

    store: Store
    plan: Plan
    settings: Settings
    corpus: Corpus
    tokens: tuple[np.ndarray, np.ndarray]
    device: torch.device
    stop: Callable[[], bool]
    say: Say

    def take(self, left: Sequence[Cell], limits: PackLimits) -> Job | None:
        """Claim the longest cell that can be claimed, and those that can be stepped with it from where it stands."""
        for cell in jobs.claimable(self.store, self.plan, left):
            alike, limit = self._alike(cell, left, limits)
            if claim := self.store.claim(cell.key):
                break
        else:
            return None
        job = Job([claim], [self._run(cell)], limits.micro_batch(cell))
        for other in alike:
            if len(job.runs) >= limit:
                break
            run = self._run(other)
            if run.step == job.runs[0].step and (claim := self.store.claim(other.key)):
                job.claims.append(claim)
                job.runs.append(run)
        for claim in job.claims if len(job.claims) > 1 else ():
            self.store.join_pack(claim, len(job.claims))
        return job

    def _alike(self, cell: Cell, left: Sequence[Cell], limits: PackLimits) -> tuple[list[Cell], int]:
        """Other cells that can be stepped with this one now, and the largest pack.

        A pack whose worker died may have died of its size: half of it next time, in the end every cell alone.
        """
        if limits.never:
            return [], 1
        signature, lost = jobs.pack_signature(cell), self.store.lost_claims(cell.key)
        same = [c for c in left if c.key != cell.key and jobs.pack_signature(c) == signature]
        alike = [c for c in jobs.claimable(self.store, self.plan, same) if self.store.lost_claims(c.key) == lost]
        return alike, limits.of(cell, 1 + len(alike)) >> lost

    def _run(self, cell: Cell) -> Run:
        """The cell with the furthest state it may go on from, which stays valid whatever happens before it is claimed."""
        start = load_start(cell, self.store.checkpoint(cell.key), self.store.snapshots(cell.trunk))
        return Run(cell, start, jobs.snapshot_steps(self.store, self.plan, cell, start.step if start else 0))

    def measure(self, job: Job, limits: PackLimits) -> None:
        """Train the claimed cells and write their records, or leave the claims released, failed or to others."""
        # wandb keeps one run open in a process: the cells of a pack are logged one after another when they are done
        live = self._tracker(job.runs[0].cell) if len(job.runs) == 1 else None
        try:
            with Lease(self.store, job.claims, self.say) as lease:
                outcomes = self._train(job, lease, live)
        except Interrupted:
            end = "INTERRUPTED"
            self._release(job)
        except LeaseLost:
            end = "LOST"
            self.say(f"{', '.join(c.key for c in job.claims)} taken over by another worker; left to it")
        except Exception as error:
            end = "FAILED"
            if isinstance(error, OSError) and is_storage_error(error, self.store.directory):
                self._release(job)
                raise StoreError(storage_sentence(error, self.store.directory)) from None
            self._fail(job, error, limits)
        else:
            for run, outcome in zip(job.runs, outcomes, strict=True):
                self._say_and_log(run.cell, outcome, live)
            return
        free_memory(self.device)  # here, where no traceback keeps the tensors of what failed
        if live:
            live.finish({"state": end})

    def _train(self, job: Job, lease: Lease, tracker: Tracker | None) -> list[Outcome | None]:
        """The outcomes that have become records; None for a cell that somebody else took over."""
        store, train_spec, started, lost = self.store, self.settings.train, time.time(), set[int]()

        def leave(i: int) -> None:
            lost.add(i)
            if len(lost) == len(job.claims):
                raise LeaseLost

        def on_curve(i: int, curve: list[dict[str, Any]]) -> None:
            if i not in lost and not store.write_curve(job.claims[i], curve):
                leave(i)
            elif tracker:
                tracker.curve(curve)

        def on_checkpoint(i: int, checkpoint: Checkpoint) -> None:
            if store.holds(job.claims[i]):
                save_checkpoint(store.checkpoint(checkpoint.key), checkpoint, keep_previous=True)

        def on_snapshot(i: int, checkpoint: Checkpoint) -> None:
            path = store.snapshot(checkpoint.key, checkpoint.step)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_checkpoint(path, checkpoint)

        def on_weights(i: int, weights: dict[str, torch.Tensor]) -> None:
            if store.holds(job.claims[i]):
                save_weights(store.weights(job.runs[i].cell.key), weights)

        def should_stop() -> bool:
            lease.progress()
            lease.check()
            return self.stop()

        reset_peak_memory(self.device)
        execution = Execution(
            self.device, job.micro_batch, train_spec.curve_points, train_spec.fast, train_spec.checkpoint_seconds
        )
        keep = on_weights if train_spec.keep_weights else None
        names = ", ".join(run.cell.key for run in job.runs)
        hooks = Hooks(
            on_curve, on_checkpoint, on_snapshot, keep, should_stop, lease.progress, lambda line: self.say(f"{names} {line}")
        )
        outcomes = train(job.runs, *self.tokens, execution, hooks)
        lease.check()
        for i, (run, claim, outcome) in enumerate(zip(job.runs, job.claims, outcomes, strict=True)):
            record = make_record(run.cell, outcome, self.device, self.corpus, started, len(job.runs))
            if outcome.state == "DIVERGED" and i not in lost and store.retry_diverged(claim):
                self.say(f"{claim.key} DIVERGED and is tried again (launcher.retries.diverged)")
                lost.add(i)
            if i not in lost and not store.write_record(claim, record):
                leave(i)
        for trunk in {run.cell.trunk for run in job.runs}:
            store.prune_trunk(self.plan.siblings[trunk])
        return [None if i in lost else outcome for i, outcome in enumerate(outcomes)]

    def _release(self, job: Job) -> None:
        for claim in job.claims:
            with contextlib.suppress(OSError):  # the directory may be gone
                if self.store.holds(claim):
                    self.store.release(claim)

    def _fail(self, job: Job, error: Exception, limits: PackLimits) -> None:
        """Go on with less at a time where that may help; else the cell has failed."""
        if lowered := limits.lower(job.runs[0].cell, len(job.runs), error):
            self.say(lowered)
            self._release(job)
            return
        self.store.fail(job.claims[0], traceback.format_exc())
        self.say(f"{job.claims[0].key} FAILED\n{traceback.format_exc()}")

    def _say_and_log(self, cell: Cell, outcome: Outcome | None, live: Tracker | None) -> None:
        if outcome is None:
            self.say(f"{cell.key} was taken over by another worker; left to it")
            return
        shared = f", {outcome.shared_steps} steps from its trunk" if outcome.shared_steps else ""
        self.say(f"{cell.key} {outcome.state} loss {outcome.loss:.4f} in {outcome.seconds:.1f} s{shared}")
        tracker = live or self._tracker(cell)
        tracker.curve(outcome.curve)
        tracker.finish({"state": outcome.state, "loss": outcome.loss, "loss_se": outcome.loss_se})

    def _tracker(self, cell: Cell) -> Tracker:
        row = cell.row(self.settings.count)
        sweep = self.store.sweep()
        return start_tracker(self.settings.logger, self.store.directory, sweep["hash"], row, self.say, [sweep["name"]])


def make_record(
    cell: Cell, outcome: Outcome, device: torch.device, corpus: Corpus, started: float, pack: int
) -> dict[str, Any]:
    """The immutable outcome of a cell; on CPUs of one kind only `times` and `where` differ between two measurements."""
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
        "where": {
            "device": device_name(device),
            "host": platform.node(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "scalesweep": f"{__version__}{_commit()}",
            **({"transformers": version("transformers")} if isinstance(cell.shape, ModuleShape) else {}),
        },
        "times": {"started": started, "ended": time.time(), **_times(cell, outcome, device, pack)},
    }


def _times(cell: Cell, outcome: Outcome, device: torch.device, pack: int) -> dict[str, Any]:
    """What the cell cost, and how well the device was used; of the steps that were trained for this cell alone."""
    steps = (outcome.curve[-1]["step"] if outcome.curve else 0) - outcome.shared_steps
    speed = max(0, steps) * cell.batch_tokens / outcome.seconds if outcome.seconds > 0 else 0.0
    flops = speed * flops_per_token(cell.shape, "attention")
    return {
        "training_seconds": outcome.seconds,
        "shared_steps": outcome.shared_steps,
        "pack": pack,
        "tokens_per_second": speed,
        "flops_per_second": flops,
        "flops_share": flops / peak_flops(device, cell.precision),
        "peak_memory_bytes": peak_memory_bytes(device),
    }


@functools.cache
def _commit() -> str:
    """The commit of the checkout that runs, if it is one, with a mark if it was changed since."""
    package = Path(__file__).resolve().parent
    words = ["git", "-C", str(package), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" (commit {found})" if "site-packages" not in package.parts else ""


def _finite(number: float) -> float | None:
    """The number, or None (JSON has no nan)."""
    return number if math.isfinite(number) else None


def device_name(device: torch.device) -> str:
    """What the user calls the device: the GPU's model, or the processor's architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"


def _say(message: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {message}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of a worker process."""
    parser = argparse.ArgumentParser(prog="python -m scalesweep.worker", description="Work on a sweep until nothing is left.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:K")
    parser.add_argument("--core", type=int, help="pin the process to this CPU core")
    parser.add_argument("--workers", type=int, default=1, help="how many workers share the sweep")
    parser.add_argument("--parent", type=int, help="stop when this process, which started the worker, is gone")
    options = parser.parse_args(arguments)
    if options.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    stop = Stop(options.parent).on_signals(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    try:
        finished = work(Store(options.directory), prepare_device(options.device), stop, _say, options.workers)
    except ScaleSweepError as error:
        _say(str(error))
        return EXIT_BAD_INPUT
    if finished:
        return EXIT_OK
    _say(f"stopped{f' by {stop.signalled.name}' if stop.signalled else ''}; the checkpoint is written and the cell given back")
    return EXIT_AGAIN if stop.signalled is signal.SIGUSR1 else EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
