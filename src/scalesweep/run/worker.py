"""A worker: claims cells of a sweep until none is left, trains each, writes its record.

Run as `python -m scalesweep.run DIR --device cpu`; launchers start it so. SIGTERM, SIGINT, SIGHUP and SIGUSR1 make it
write a checkpoint, release its claim and end, with exit code 130, or 75 after SIGUSR1, which asks to be started again. A
directory that is full, read-only or gone ends it with one line and exit code 74, other bad input with 2, a GPU that fails with
69: its cells are given back, and the launcher finds out whether the GPU or the cell is at fault.
"""

import argparse
import contextlib
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from scalesweep.errors import (
    EXIT_AGAIN,
    EXIT_BAD_INPUT,
    EXIT_DEVICE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_STORAGE,
    DeviceLost,
    Requeue,
    ScaleSweepError,
)
from scalesweep.files import StorageFailed, is_storage_error, plain_storage_errors, storage_sentence
from scalesweep.plan.cell import Cell
from scalesweep.plan.plan import Plan
from scalesweep.run.corpora import OpenCorpus, open_corpora
from scalesweep.run.job import Job, blame_device, leave, release
from scalesweep.run.keeper import Keeper
from scalesweep.run.lease import Lease, LeaseLost, Stop, or_cancelled, sleep_watch
from scalesweep.run.packing import PackLimits
from scalesweep.run.queue import Queue
from scalesweep.run.ranks import together
from scalesweep.run.record import make_record
from scalesweep.run.store import free_cells
from scalesweep.run.store.pool import Pool, give_to_pool, pool_of
from scalesweep.run.store.store import CLAIMABLE, HEARTBEAT_SECONDS, Store
from scalesweep.run.tracker import Tracker, start_tracker
from scalesweep.settings.settings import Settings
from scalesweep.settings.trust import trust
from scalesweep.train.capture import is_crippled
from scalesweep.train.device import (
    OTHERS_BYTES,
    bytes_of_others,
    device_name,
    first_line,
    is_device_lost,
    is_out_of_memory,
    open_device,
    peak_memory_bytes,
    reset_peak_memory,
)
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, Interrupted, train
from scalesweep.train.measure import free_memory
from scalesweep.train.model.custom import require_custom
from scalesweep.train.optim.custom import require_own_optimizers
from scalesweep.train.pack import Outcome

WAIT_SECONDS = 0.5
"""Between two looks for cells that wait for a trunk."""
LOOK_SECONDS = 5.0
"""Between two looks at all cells for those that others have finished; with many cells that takes a while."""


Say = Callable[[str], None]
"""Takes one line about progress or trouble."""


def work(
    store: Store,
    device: torch.device,
    stop: Callable[[], bool],
    say: Say = lambda _: None,
    workers: int = 1,
    last: Sequence[str] = (),
    is_replaced: bool = False,
    beside: Sequence[torch.device] = (),
    only: Sequence[str] = (),
) -> bool:
    """Claim and measure cells, longest first, until none can be claimed; False if `stop`, or a cancelled sweep, ended it.

    Args:
        store: the sweep's directory.
        device: where to train.
        stop: asked after every step.
        say: takes lines for the log.
        workers: how many share the sweep, so that packs divide its cells evenly.
        last: keys of cells that are taken when no other can be: the device failed with them.
        is_replaced: whether somebody starts another worker when this one asks for it.
        beside: further devices of this machine, which train a cell together with `device`.
        only: keys of the cells that may be taken; none stands for all.

    Raises:
        DeviceLost: the GPU failed; its cells are given back.
        Requeue: another worker should go on, as a failed capture has crippled this process's allocator, or as it has trained a
            cell together with others, which it can do once.
    """
    corpora, stop = open_corpora(store, say), or_cancelled(stop, store)
    plan, settings = store.plan_file.plan(), store.plan_file.settings()
    require_custom(cell.shape for cell in plan.cells)
    require_own_optimizers(plan.cells)
    pool = pool_of(settings, device_name(device), torch.__version__)
    queue = Queue(store, plan, say, pool, frozenset(last), frozenset(only))
    worker = Worker(store, plan, settings, corpora, device, stop, say, pool, tuple(beside))
    limits = PackLimits(store, settings, device, workers, stop, say, devices=1 + len(beside))
    has_slept = sleep_watch()
    with plain_storage_errors(store.directory):
        left, looked, measured = queue.left(), time.monotonic(), 0
        while not stop():
            if has_slept():
                time.sleep(2 * HEARTBEAT_SECONDS)  # all heartbeats look old now; those who live renew them first
            if job := queue.take(left, limits):
                worker.measure(job, limits, has_measured=measured > 0)
                measured += 1
                if (is_replaced and is_crippled()) or (beside and not stop()):
                    raise Requeue
                mine = {claim.key for claim in job.claims}
                left = [cell for cell in left if cell.key not in mine]
                if time.monotonic() - looked < LOOK_SECONDS:
                    continue
            left, looked = queue.left(), time.monotonic()
            if job is None:
                if not any(store.state(cell.key) in CLAIMABLE for cell in left):
                    return True
                if next(free_cells.claimable(store, plan, left), None) is None:
                    time.sleep(WAIT_SECONDS)  # for a trunk that another worker trains
    return False


@dataclass(frozen=True)
class Worker:
    """What stays the same while a process works on a sweep."""

    store: Store
    plan: Plan
    settings: Settings
    corpora: Mapping[str, OpenCorpus]
    """By hash."""
    device: torch.device
    stop: Callable[[], bool]
    say: Say
    pool: Pool | None = None
    beside: tuple[torch.device, ...] = ()
    """Devices that train a cell together with `device`."""

    def measure(self, job: Job, limits: PackLimits, has_measured: bool = False) -> None:
        """Train the claimed cells and write their records, or leave the claims released, failed or to others.

        Raises:
            DeviceLost: the GPU failed; the claims say so, and whether this worker had got on (`has_measured`) by then.
        """
        started = time.time()
        # wandb keeps one run open in a process: the cells of a pack are logged one after another when they are done
        live = self._tracker(job.runs[0].cell) if len(job.runs) == 1 else None
        try:
            with Lease(self.store, job.claims, self.say) as lease:
                outcomes = self._train(job, lease, live, started, limits)
        except Interrupted:
            end = "INTERRUPTED"
            release(self.store, job)
        except LeaseLost:
            end = "LOST"
            leave(self.store, job)
            self.say(f"{job.names} not held any more; left to other workers")
        except Exception as error:
            end = "FAILED"
            if isinstance(error, OSError) and is_storage_error(error, self.store.directory):
                release(self.store, job)
                raise StorageFailed(storage_sentence(error, self.store.directory)) from None
            cause = limits.crowd(job.runs[0].cell, len(job.runs), error)
            if is_device_lost(error) or (job.ranks > 1 and not self._can_take_less(error)):
                cause = first_line(error)
            if cause:
                self.say(f"{job.names} interrupted\n{traceback.format_exc()}")
                blame_device(self.store, job, cause, has_measured, started)
                raise DeviceLost(f"{self.device} has failed: {cause}") from None
            self._fail(job, error, limits)
        else:
            for run, outcome in zip(job.runs, outcomes, strict=True):
                self._say_and_log(run.cell, outcome, live)
            return
        free_memory(self.device)  # here, where no traceback keeps the tensors of what failed
        if live:
            live.finish({"state": end})

    def _train(
        self, job: Job, lease: Lease, tracker: Tracker | None, started: float, limits: PackLimits
    ) -> list[Outcome | None]:
        """The outcomes that have become records; None for a cell that somebody else took over."""
        spec, first = self.settings.train, job.runs[0]
        opened = self.corpora[first.cell.corpus_hash]  # one for all, as of what is stepped together
        problems = opened.problems(first.cell.shape.context)
        keeper = Keeper(self.store, lease, job, self.say, tracker, self.device, spec.keep_weights, problems)

        def should_stop() -> bool:
            lease.progress()
            lease.check()
            return self.stop()

        reset_peak_memory(self.device)
        self.say(f"{job.names} {f'goes on after step {first.step}' if first.step else 'begins'}{self._where(job)}")
        hooks = Hooks(
            on_curve=keeper.keep_curve,
            on_checkpoint=keeper.keep_checkpoint,
            on_snapshot=keeper.keep_snapshot,
            on_weights=keeper.keep_trained if keeper.keeps_weights or keeper.problems else None,
            should_stop=should_stop,
            on_note=lambda line: self.say(f"{job.names} {line}"),
        )
        how = spec.curve_points, spec.fast, spec.checkpoint_seconds, spec.compiles, job.further_steps
        execution = Execution(self.device, job.micro_batch, *how, ranks=job.ranks)
        with self._together(job, started):
            outcomes = train(job.runs, opened.train, opened.validation, execution, hooks, opened.further)
        lease.check()
        peak_memory = peak_memory_bytes(self.device)
        limits.note_memory(first.cell, len(job.runs), peak_memory)
        records = (  # each made as late as it is written: it holds the time
            make_record(run.cell, outcome, self.device, opened, started, job, peak_memory)
            for run, outcome in zip(job.runs, outcomes, strict=True)
        )
        keeper.keep_records(outcomes, records)
        if self.pool:
            give_to_pool(self.store, self.pool, [run.cell for i, run in enumerate(job.runs) if i not in keeper.lost], self.say)
        for trunk in {run.cell.trunk for run in job.runs}:
            self.store.prune_trunk(self.plan.siblings[trunk])
        return [None if i in keeper.lost else outcome for i, outcome in enumerate(outcomes)]

    def _where(self, job: Job) -> str:
        if job.ranks == 1:
            return ""
        number = 1 + len(self.beside)
        of = f" of {number}" if job.ranks < number else ""
        why = f", which divide its {job.runs[0].cell.batch_sequences} sequences evenly" if of else ""
        return f" on {job.ranks}{of} devices together{why}"

    def _together(self, job: Job, started: float) -> contextlib.AbstractContextManager[None]:
        """A block in which the devices beside train along, if any do; where one of them fails, this process ends at once."""
        if job.ranks == 1:
            return contextlib.nullcontext()

        def end(cause: str) -> None:
            blame_device(self.store, job, cause, has_measured=False, started=started)
            self.say(f"{job.names} interrupted: {cause}")
            os._exit(EXIT_DEVICE)

        return together(self.store, job.runs[0], job.micro_batch, [self.device, *self.beside][: job.ranks], end)

    def _can_take_less(self, error: Exception) -> bool:
        """Whether less at a time may help, as another worker will know: where others hold memory, the limit is not kept."""
        return is_out_of_memory(error) and bytes_of_others(self.device) <= OTHERS_BYTES

    def _fail(self, job: Job, error: Exception, limits: PackLimits) -> None:
        """Go on with less at a time where that may help; else the cell has failed."""
        if lowered := limits.lower(job.runs[0].cell, len(job.runs), error):
            self.say(lowered)
            release(self.store, job)
            return
        self.store.claims.fail(job.claims[0], traceback.format_exc(), f"{type(error).__name__}: {first_line(error)}")
        self.say(f"{job.claims[0].key} FAILED\n{traceback.format_exc()}")

    def _say_and_log(self, cell: Cell, outcome: Outcome | None, live: Tracker | None) -> None:
        if outcome is None:
            self.say(f"{cell.key} was taken over by another worker; left to it")
            if live:
                live.finish({"state": "LOST"})
            return
        shared = f", {outcome.shared_steps} steps from its trunk" if outcome.shared_steps else ""
        self.say(f"{cell.key} {outcome.state} loss {outcome.loss:.4f} in {outcome.seconds:.1f} s{shared}")
        tracker = live or self._tracker(cell)
        tracker.curve(outcome.curve)
        tracker.finish({"state": outcome.state, "loss": outcome.loss, "loss_se": outcome.loss_se})

    def _tracker(self, cell: Cell) -> Tracker:
        row = {**cell.row(self.settings.count), **self.plan.columns.get(cell.key, {})}
        sweep = self.store.plan_file.content()
        return start_tracker(self.settings.logger, self.store.directory, sweep["hash"], row, self.say, [sweep["name"]])


def write_log(message: str) -> None:
    """Write a line to the log, after the time."""
    with contextlib.suppress(OSError):  # of a full disk, on which the log lies too
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {message}\n")
        sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of a worker process."""
    parser = argparse.ArgumentParser(prog="python -m scalesweep.run", description="Work on a sweep until nothing is left.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:K")
    parser.add_argument("--core", type=int, help="pin the process to this CPU core")
    parser.add_argument("--workers", type=int, default=1, help="how many workers share the sweep")
    parser.add_argument("--last", action="append", default=[], help="key of a cell that is taken when no other can be")
    parser.add_argument("--beside", action="append", default=[], help="a device that trains a cell together with --device")
    parser.add_argument("--only", action="append", default=[], help="key of a cell that may be taken; by default all")
    parser.add_argument("--parent", type=int, help="stop when this process, which started the worker, is gone")
    parser.add_argument("--trust", action="append", default=[], help="a module of the user's own that it may import")
    options = parser.parse_args(arguments)
    trust(tuple(options.trust))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no character of a message may end the worker
    if options.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]  # ignored under nohup
    stop = Stop(options.parent).on_signals(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, *hangup)
    try:
        device, beside = open_device(options.device), [torch.device(name) for name in options.beside]
        lists = {"last": options.last, "beside": beside, "only": options.only}
        finished = work(Store(options.directory), device, stop, write_log, options.workers, is_replaced=True, **lists)
    except DeviceLost as error:
        write_log(str(error))
        os._exit(EXIT_DEVICE)  # without the end of CUDA's context, which may hang
    except Requeue:
        if is_crippled():
            write_log("ended, as a failed capture has crippled the allocator of this process (torch 2.11 and older)")
        return EXIT_AGAIN
    except ScaleSweepError as error:
        write_log(str(error))
        return EXIT_STORAGE if isinstance(error, StorageFailed) else EXIT_BAD_INPUT
    if finished:
        return EXIT_OK
    how = f" by {stop.signalled.name}" if stop.signalled else ""
    write_log(f"stopped{how}; the checkpoint is written and the cell given back")
    return EXIT_AGAIN if stop.signalled is signal.SIGUSR1 else EXIT_INTERRUPTED
