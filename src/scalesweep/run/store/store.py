"""The sweep's directory: what is planned, who works on what, and what was measured.

    DIR/sweep.json               the plan: every cell, the settings that were asked for, versions
    DIR/cells/KEY/claim-N        the N-th claim of the cell: who holds it; its modification time is the heartbeat
    DIR/cells/KEY/curve.jsonl    loss curve so far, behind a header with its checksum
    DIR/cells/KEY/checkpoint.pt  state of a cell in training; checkpoint.previous.pt is the one before
    DIR/cells/KEY/model.safetensors  the trained weights, where train.keep_weights asks for them
    DIR/cells/KEY/record.json    the outcome, written last; nothing else means finished
    DIR/cells/KEY/probe-NAME.npz, .json  answers to a problem set, and their summary with a checksum (`answers.py`)
    DIR/cells/KEY/validation-NAME.json  loss on a validation set that was asked for after the record was written
    DIR/trunks/TRUNK/STEP.pt     state of a trunk where the decay of a cell without a record begins
    DIR/cancel                   asks all workers to end; a new run removes it
    DIR/memory.json              what fitted into the memory of a device, by shape
    DIR/packs/KIND.json          what runs stepped together took, by their number (`pack_tables.py`)

Names that start with a dot are temporary; *.corrupt was found damaged and is never read.

Protocol
--------
Any number of workers, on any machines that see the directory, walk the cells in the same order.

*Claim.* A worker takes a cell by creating `claim-N` exclusively, with N one above the highest claim there is. The file system
lets exactly one worker succeed, so no lock is held and nothing is ever renamed away under somebody. A cell may be claimed when
it has no record and its highest claim is absent, ended but not for good (*Retry*), or stale.

*Heartbeat.* The holder touches its claim every few seconds, as long as its training makes steps: the thread that beats stops,
and marks the claim `hung`, when the training thread has made none for 20 times its median step and at least a minute, time in
which the whole process was paused or a file was written not counted (`lease.Lease`). A claim is stale when its heartbeat is
older than `LEASE_SECONDS` by the clock of the file system, or when it was made on the reader's own host, since it was started,
by a process that is gone. A dead worker on this machine is thus noticed at once, one elsewhere after the lease.

*Takeover.* Taking over a stale claim is claiming: `claim-N+1` is created, by one of those that try, and the old holder, should
it wake, sees a higher claim at its next step or heartbeat, marks its own `released` and stops without writing. Before a curve,
a checkpoint or a record is written the holder looks once more. Between that look and the write lies a moment in which a process
can be paused; a record that comes late finds another and changes nothing, a checkpoint that comes late is an older state of the
same trajectory, and a curve that comes late is seen by the claim's number in its header and set aside.

*Trunk.* Cells that differ in length alone are one trajectory until the decay of the shorter one begins, at its branch step.
A worker that trains one of them leaves the state at the branch step of every shorter cell that has no record, and a cell goes
on from the furthest such state, or from its own checkpoint where that is further. As each state is what the cell would have
come to by itself, none of this shows in a record but for `times`, and a state may be written twice, or be missing. While a
live claim is on its way to a cell's branch step, that cell waits (`free_cells.waits_for_trunk`): it would only follow behind.
It waits for nothing else, so that a death or a failure of the holder lets it go, and two cells never wait for each other. The
states are removed with the record of the last cell that could use them.

*Pack.* Cells that a worker steps together have each its claim, curve, checkpoint and record; one that is lost is left out.

*Record.* Linked into its place after the curve; the link fails where a record stands: a finished state never changes.

*Cancel.* While `cancel` is there, workers write checkpoints, release their claims and end, as on SIGTERM, and none starts.

*Retry.* `launcher.retries` says how often a cell is tried again after an exception (`failed`), after its worker died or hung
(`lost`) and after its loss diverged (`diverged`). Claims are counted, so no launcher and no restart of one changes the answer
(`claim.is_given_up`). A cell that only waited has no claim and is charged nothing; nor is one whose machine was restarted,
whose worker was told to stop, that died in a pack, or from whose checkpoint a later claim went on further than it had begun.
`reopen_failed`, which a new `scalesweep run` calls, starts the count anew. A diverged cell is a result and has a record.

*Damage.* Every file that is trusted carries a checksum. A record that is damaged is set aside and its cell measured again; for
a damaged checkpoint the one before it serves, for a damaged trunk state the cell's own way there, for a damaged curve none; a
damaged claim is one of nobody known, stale after the lease. Each is a line on standard error. A damaged sweep.json is refused.

*Assumptions.* The file system creates hard links exclusively and renames atomically, as local ones and NFS (v3 and later) do.
Leases go by its clock alone: a heartbeat asks it to stamp the present (UTIME_NOW, which NFS clients pass to the server), and a
reader compares with the stamp of a file that it writes beside, so the clocks of hosts do not matter. Where a reader may not
write, its own clock serves. A clock that is set back makes heartbeats of the future: by more than the lease they are stale, and
a live holder mends its own within seconds. A cache of attributes (NFS: `acregmax`, 60 s by default) makes heartbeats look old,
and with it a lease may be lost that was kept; that costs a repeated cell, never a wrong record. A holder that cannot reach the
directory stops at its next write. Containers and hosts that share a name are told apart by boot id and process namespace.
"""

import contextlib
import functools
import json
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.errors import StoreError
from scalesweep.files import (
    Damaged,
    digest,
    plain_storage_errors,
    read_json,
    sealed,
    set_aside,
    sibling,
    write_new,
    write_text,
)
from scalesweep.plan.cell import Cell
from scalesweep.run.store.claim import HEARTBEAT_SECONDS, LEASE_SECONDS
from scalesweep.run.store.claims import CLAIMABLE, Claim, Claims, State
from scalesweep.run.store.contents import CurveEnd, cell_dir, checked_key, read_curve, read_curve_end, record_file
from scalesweep.run.store.pack_tables import PackTables
from scalesweep.run.store.plan_file import PlanFile
from scalesweep.run.store.schema import SCHEMA, upgrade

__all__ = [
    "CLAIMABLE",
    "FINISHED",
    "HEARTBEAT_SECONDS",
    "LEASE_SECONDS",
    "SCHEMA",
    "Claim",
    "State",
    "Store",
    "finished_state",
]
FINISHED: frozenset[State] = frozenset({"COMPLETE", "DIVERGED"})
ABANDONED_SECONDS = 3600.0
"""Temporary files so old are of workers that were killed; younger ones may be somebody's who is about to rename them."""


def finished_state(record: Mapping[str, Any]) -> State:
    """The state of a cell that has this record."""
    return "COMPLETE" if record["state"] == "COMPLETE" else "DIVERGED"


@dataclass(frozen=True)
class Store:
    """A sweep's directory; every method looks at the files anew, so all processes see one truth."""

    directory: Path

    @functools.cached_property
    def plan_file(self) -> PlanFile:
        """What is to be measured."""
        return PlanFile(self.directory)

    @functools.cached_property
    def claims(self) -> Claims:
        """Who measures what."""
        return Claims(self.plan_file)

    @functools.cached_property
    def packs(self) -> PackTables:
        """What runs stepped together took."""
        return PackTables(self.directory)

    def cell_dir(self, key: str) -> Path:
        """The cell's directory.

        Raises:
            StoreError: the key is none, and could name a place outside the store.
        """
        return cell_dir(self.directory, key)

    def state(self, key: str) -> State:
        """The cell's state, derived from its files."""
        seen = self.claims.look(key)
        if seen.has_record and (record := self.record(key)):
            return finished_state(record)
        return self.claims.unfinished_state(key, seen.last)

    def is_finished(self, key: str) -> bool:
        """Whether there is a record, without reading it."""
        return record_file(self.directory, key).exists()

    def states(self) -> dict[str, State]:
        """State of every planned cell."""
        return {key: self.state(key) for key in self.plan_file.keys()}

    def write_curve(self, claim: Claim, curve: Iterable[Mapping[str, float]]) -> bool:
        """Replace the cell's loss curve, unless the claim was lost; True if it was written."""
        lines = "".join(json.dumps(dict(p)) + "\n" for p in curve).encode()
        header = json.dumps({"schema": SCHEMA, "claim": claim.number, "checksum": digest(lines)}) + "\n"
        path = self.cell_dir(claim.key) / "curve.jsonl"
        with sibling(path, header.encode(), lines) as temporary:
            if held := self.claims.holds(claim):
                temporary.replace(path)
        return held

    def curve_file(self, key: str) -> Path:
        """Where the cell's loss curve is."""
        return self.cell_dir(key) / "curve.jsonl"

    def curve(self, key: str) -> list[dict[str, float]]:
        """The cell's loss curve; empty where nothing was written yet, or the file was damaged and is set aside."""
        path = self.curve_file(key)
        try:
            claim, points = read_curve(path)
        except (FileNotFoundError, IsADirectoryError):
            return []
        except Damaged as error:
            set_aside(path, error, read_curve)
            return []
        record = self.record(key) if claim else None
        if record and (finisher := record.get("where", {}).get("claim", claim)) != claim:
            set_aside(path, Damaged(f"{path} is of claim {claim}, which came late; claim {finisher} has finished the cell"))
            return []
        return points

    def curve_end(self, key: str) -> CurveEnd | None:
        """The last point of the curve, without reading the others; None where there is none."""
        return read_curve_end(self.cell_dir(key) / "curve.jsonl")

    def last_step(self, key: str) -> int:
        """Finished steps at the last point of the curve; 0 where there is none."""
        end = self.curve_end(key)
        return end.step if end else 0

    def write_record(self, claim: Claim, record: Mapping[str, Any]) -> bool:
        """Finish the cell, unless the claim was lost or a record stands; True if this record was written."""
        value = {"schema": SCHEMA, "key": claim.key, **record}
        if "where" in value:
            value["where"] = {**value["where"], "claim": claim.number}
        if not self.claims.holds(claim) or not write_new(record_file(self.directory, claim.key), sealed(value)):
            return False
        abandoned = [path for path in self.cell_dir(claim.key).glob(".*") if time.time() - _changed(path) > ABANDONED_SECONDS]
        for leftover in [*self._checkpoints(claim.key), *abandoned]:
            leftover.unlink(missing_ok=True)
        return True

    def retry_diverged(self, claim: Claim) -> bool:
        """End the claim of a diverged cell without a record if it is to be tried again, from its trunk or its first step."""
        if not self.claims.may_repeat_diverged(claim):
            return False
        for path in self._checkpoints(claim.key):
            path.unlink(missing_ok=True)
        self.claims.diverge(claim)
        return True

    def weights(self, key: str) -> Path:
        """Where the trained weights of a cell are kept, if they are."""
        return self.cell_dir(key) / "model.safetensors"

    def write_further(self, key: str, name: str, loss: Mapping[str, Any]) -> None:
        """Keep the loss of a finished cell on a validation set that its record lacks; one that stands is kept."""
        write_new(self.cell_dir(key) / f"validation-{name}.json", sealed({"schema": SCHEMA, "loss": dict(loss)}))

    def further(self, key: str, record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """Losses of a finished cell on further validation sets by name: of its record, and those that were added to it."""
        found = dict(record.get("validation", {}))
        for path in self.cell_dir(key).glob("validation-*.json"):
            try:
                found.setdefault(path.stem.removeprefix("validation-"), read_json(path)["loss"])
            except Damaged as error:
                set_aside(path, error)
        return found

    def checkpoint(self, key: str) -> Path:
        """Where the state of a cell in training is kept."""
        return self.cell_dir(key) / "checkpoint.pt"

    def _checkpoints(self, key: str) -> list[Path]:
        return list(self.cell_dir(key).glob("checkpoint*.pt"))

    def snapshot(self, trunk: str, step: int) -> Path:
        """Where the state of a trunk after `step` steps is kept."""
        return self._trunk_dir(trunk) / f"{step}.pt"

    def _trunk_dir(self, trunk: str) -> Path:
        return self.directory / "trunks" / checked_key(trunk, self.directory)

    def snapshots(self, trunk: str) -> list[Path]:
        """The states of a trunk that are there, the furthest one first."""
        states = [path for path in self._trunk_dir(trunk).glob("*.pt") if path.stem.isdigit()]
        return sorted(states, key=lambda path: -int(path.stem))

    def prune_trunk(self, siblings: Iterable[Cell]) -> None:
        """Remove the states of a trunk from which no cell without a record could go on, given all cells of the trunk."""
        siblings = list(siblings)
        furthest = max((c.branch_step for c in siblings if not self.is_finished(c.key)), default=-1)
        directory = self.snapshot(siblings[0].trunk, 0).parent
        for path in self.snapshots(siblings[0].trunk):
            if int(path.stem) > furthest:
                path.unlink(missing_ok=True)
        if furthest < 0 and directory.is_dir():
            shutil.rmtree(directory, ignore_errors=True)  # with temporary files and unreadable states

    @property
    def _cancel_file(self) -> Path:
        return self.directory / "cancel"

    def ask_to_cancel(self) -> None:
        """Ask all workers, on any machine, to write checkpoints, release their claims and end."""
        with plain_storage_errors(self.directory):
            self._cancel_file.touch()

    def clear_cancel(self) -> None:
        """Take the request back, as a new `scalesweep run` does."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._cancel_file.unlink()

    def is_cancelled(self) -> bool:
        """Whether somebody asked the workers to end."""
        return self._cancel_file.exists()

    def memory_limits(self) -> dict[str, dict[str, int]]:
        """What was found to fit: kind of work -> `micro_batch` or `pack` -> the most of it."""
        path = self.directory / "memory.json"
        try:
            return dict(upgrade("memory", read_json(path), path)["limits"])
        except FileNotFoundError:
            return {}
        except Damaged as error:
            set_aside(path, error)
            return {}

    def remember_limit(self, kind: str, name: str, most: int) -> None:
        """Note what fits, for the workers to come. Two at once may lose one of the notes, which costs finding out again."""
        limits = self.memory_limits()
        limits[kind] = {**limits.get(kind, {}), name: most}
        write_text(self.directory / "memory.json", sealed({"schema": SCHEMA, "limits": limits}))

    def record(self, key: str) -> dict[str, Any] | None:
        """The cell's record, or None; a damaged one is set aside, and the cell is as if it had never been finished.

        Raises:
            StoreError: it is the record of another cell, or of another version.
        """
        path = record_file(self.directory, key)
        if (value := self._sound_record(key, path)) is None:
            return None
        value = upgrade("record", value, path)
        if value.get("key", key) != key:
            raise StoreError(
                f"{path} is the record of cell {value['key']}, which has another configuration; "
                "remove it to have this cell measured."
            )
        return value

    def _sound_record(self, key: str, path: Path) -> dict[str, Any] | None:
        """The content of a record; a damaged one is set aside, and the claim that had finished the cell released."""
        with contextlib.suppress(FileNotFoundError, Damaged):
            return read_json(path)
        last = self.claims.look(key).last
        try:
            return read_json(path)  # again, as the claim must be the one that the record came from
        except FileNotFoundError:
            return None
        except Damaged as error:
            if set_aside(path, error, read_json) and last:
                self.claims.put_back(key, last)
        return None

    def records(self) -> list[dict[str, Any]]:
        """All records in declared order."""
        return [r for key in self.plan_file.keys() if (r := self.record(key)) is not None]


def _changed(path: Path) -> float:
    """When a file was last changed; now, where it has just gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
