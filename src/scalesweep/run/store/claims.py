"""Who works on which cell, and how earlier ones ended, by the protocol of `store.py`."""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from scalesweep.files import age, write_json, write_new
from scalesweep.run.store.claim import LOSSES, claim_text, failures, holder, is_given_up, is_stale, read_claim, why
from scalesweep.run.store.contents import cell_dir, record_file
from scalesweep.run.store.owner import is_gone, this_process
from scalesweep.run.store.plan_file import PlanFile
from scalesweep.run.store.schema import SCHEMA

State = Literal["WAITING", "RUNNING", "COMPLETE", "DIVERGED", "FAILED", "LOST"]
CLAIMABLE: frozenset[State] = frozenset({"WAITING", "LOST"})


class Seen(NamedTuple):
    """What one look at a cell's directory tells."""

    has_record: bool
    last: int
    """Number of the highest claim, 0 where there is none."""


@dataclass(frozen=True)
class Claim:
    """One worker's hold on one cell."""

    key: str
    number: int
    path: Path


@dataclass(frozen=True)
class DeviceFailure:
    """A claim that was given back because the device failed."""

    claim: Claim
    cause: str
    """The first line of what the device said."""
    advanced: bool
    """Whether the worker had finished a cell, or kept a checkpoint of this one."""


@dataclass(frozen=True)
class Claims:
    """Holds the cells of a sweep; every method looks at the files anew."""

    plan_file: PlanFile
    """Says how often a cell is tried again."""

    def take(self, key: str) -> Claim | None:
        """Take the cell, or None where it is finished, failed, held, or somebody was faster."""
        seen = self.look(key)
        if seen.has_record or self.unfinished_state(key, seen.last) not in CLAIMABLE:
            return None
        # The new number is one above the claim that was judged: if another one came in between, this one must not exist.
        claim = Claim(key, seen.last + 1, self._file(key, seen.last + 1))
        claim.path.parent.mkdir(exist_ok=True)  # copies and archives can leave empty directories out
        text = claim_text({"schema": SCHEMA, "state": "held", **this_process()})
        if not write_new(claim.path, text):
            return None
        # Its holder may have written the record and ended between the look at it and the look at its claim.
        if record_file(self.plan_file.directory, key).exists():
            self.release(claim)
            return None
        return claim

    def describe(self, claim: Claim, pack: int, start: int) -> None:
        """Note in a claim with how many it is stepped together and after which step, before anything is trained."""
        if pack > 1 or start > 0:
            write_json(claim.path, {**read_claim(claim.path), "pack": pack, "start": start})

    def holds(self, claim: Claim) -> bool:
        """Whether the claim is still the highest one."""
        return self.look(claim.key).last == claim.number

    def heartbeat(self, claim: Claim) -> bool:
        """Renew the lease; False says that somebody else has the cell now."""
        os.utime(claim.path)
        return self.holds(claim)

    def release(self, claim: Claim) -> None:
        """Give the cell back, to be claimed again at once."""
        try:
            self._end(claim, "released")
        except OSError:  # a full disk takes no new file; a heartbeat of 1970 says the same
            with contextlib.suppress(OSError):
                os.utime(claim.path, (0, 0))

    def leave(self, claim: Claim) -> None:
        """Say that the holder of a claim that others took over lives; unless it has ended the claim itself."""
        if read_claim(claim.path)["state"] == "held":
            self._end(claim, "released")

    def fail(self, claim: Claim, error: str, reason: str = "") -> None:
        """End the claim with its traceback and, in a line, the reason of its failure."""
        self._end(claim, "failed", error=error, **({"reason": reason} if reason else {}))

    def device_failed(self, claim: Claim, cause: str, advanced: bool) -> None:
        """Give the cell back, as its device failed; `advanced` says that its worker had got on by then."""
        if self.holds(claim):
            self._end(claim, "released", device_failure=cause, advanced=advanced)

    def blame(self, claim: Claim, cause: str) -> None:
        """Count a claim that was given back as a loss of its cell: the device that failed with it works with others."""
        with contextlib.suppress(OSError):
            write_json(claim.path, {**read_claim(claim.path), "state": "lost", "reason": cause})

    def give_up(self, claim: Claim, reason: str) -> None:
        """End a claim whose training makes no step, so that others need not wait for the lease."""
        if self.holds(claim):
            self._end(claim, "hung", reason=reason)

    def may_repeat_diverged(self, claim: Claim) -> bool:
        """Whether a cell that diverged under this claim is to be tried again."""
        tried = self._read(claim.key, claim.number)
        return failures(tried, "diverged") < self.plan_file.retries().diverged and self.holds(claim)

    def diverge(self, claim: Claim) -> None:
        """End the claim of a diverged cell that is tried again."""
        self._end(claim, "diverged")

    def put_back(self, key: str, number: int) -> None:
        """Release the claim by which a cell was finished whose record proved damaged."""
        path = self._file(key, number)
        with contextlib.suppress(OSError):
            write_json(path, {**read_claim(path), "state": "released"})

    def _end(self, claim: Claim, state: str, **more: str | bool) -> None:
        known = {name: value for name, value in read_claim(claim.path).items() if name in ("pack", "start")}
        write_json(claim.path, {"schema": SCHEMA, "state": state, **more, **known, **this_process()})

    def reopen_failed(self, keys: Iterable[str] | None = None) -> list[str]:
        """Let failed cells, or those of `keys`, be claimed again and counted anew; return their keys."""
        reopened = []
        for key in self.plan_file.keys() if keys is None else keys:
            seen = self.look(key)
            if not seen.has_record and self.unfinished_state(key, seen.last) == "FAILED":
                path = self._file(key, seen.last)
                write_json(path, {**read_claim(path), "state": "released", "reopened": True})
                reopened.append(key)
        return reopened

    def mark_lost(self, key: str, pid: int, reason: str) -> bool:
        """Note how the worker `pid` of this host ended, if it held the cell; whether it did."""
        last = self.look(key).last
        claim = read_claim(self._file(key, last)) if last else {}
        if holder(claim) != pid or claim["state"] not in LOSSES:
            return False
        if claim["state"] == "held":
            with contextlib.suppress(OSError):
                write_json(self._file(key, last), {**claim, "state": "lost", "reason": reason})
        return True

    def failed_device(self, key: str, pid: int) -> DeviceFailure | None:
        """What the worker `pid` of this host said when it gave the cell back, if its device had failed."""
        last = self.look(key).last
        path = self._file(key, last)
        claim = read_claim(path) if last else {}
        if "device_failure" not in claim or claim["state"] != "released" or holder(claim) != pid:
            return None
        return DeviceFailure(Claim(key, last, path), str(claim["device_failure"]), bool(claim.get("advanced")))

    def stuck(self, key: str) -> dict[int, bool]:
        """Processes of this host that live and hold the cell without working on it; True for those that said so themselves.

        The others only stopped to heartbeat: paused, or about to go on after the whole machine slept.
        """
        last = self.look(key).last
        alive = [(n, c) for n, c in enumerate(self._read(key, last), 1) if holder(c) and not is_gone(c)]
        found = {c["pid"]: True for _, c in alive if c["state"] == "hung"}
        stale = [c for n, c in alive if n == last and c["state"] == "held" and is_stale(self._file(key, n), c)]
        return {**{c["pid"]: False for c in stale}, **found}

    def holder(self, key: str) -> int | None:
        """Process id on this host of the worker that made the highest claim; None where there is none."""
        last = self.look(key).last
        return holder(read_claim(self._file(key, last))) if last else None

    def log(self, key: str) -> Path:
        """Where the last worker on the cell wrote what it had to say; the claim itself, with the reason, if nowhere else."""
        last = self.look(key).last
        name = read_claim(self._file(key, last)).get("log") if last else ""
        return self.plan_file.directory / "logs" / Path(name).name if name else self._file(key, last)

    def owner(self, key: str) -> dict[str, Any] | None:
        """Who made the highest claim (`owner.this_process`), with `number` and `age`, seconds since its heartbeat.

        Of a damaged claim, of nobody known, the host is empty and the process 0.
        """
        last = self.look(key).last
        path = self._file(key, last)
        if not last:
            return None
        claim = read_claim(path)
        pid = claim["pid"] if isinstance(claim.get("pid"), int) else 0
        return {**claim, "pid": pid, "number": last, "age": age(path)}

    def lost(self, key: str) -> int:
        """Claims of a cell, which nobody holds now, that ended with the death of their holder."""
        return sum(c["state"] in LOSSES and not c.get("unwritten") for c in self._read(key, self.look(key).last))

    def _read(self, key: str, last: int) -> list[dict[str, Any]]:
        """The claims up to `last`, in their order."""
        found = []
        for path in (self._file(key, number) for number in range(1, last + 1)):
            if path.exists():
                claim = read_claim(path)
                unwritten = claim["state"] == "held" and path.stat().st_mtime == 0
                found.append({**claim, "unwritten": True} if unwritten else claim)
        return found

    def _file(self, key: str, number: int) -> Path:
        return cell_dir(self.plan_file.directory, key) / f"claim-{number}"

    def look(self, key: str) -> Seen:
        """Look once at the names in a cell's directory."""
        try:
            with os.scandir(cell_dir(self.plan_file.directory, key)) as entries:
                names = [entry.name for entry in entries]
        except FileNotFoundError:
            names = []
        numbers = [int(n[6:]) for n in names if n.startswith("claim-") and n[6:].isdigit()]
        return Seen("record.json" in names, max(numbers, default=0))

    def unfinished_state(self, key: str, last: int) -> State:
        """The state of a cell without a record, given the number of the highest claim."""
        if last == 0:
            return "WAITING"
        path = self._file(key, last)
        claim = read_claim(path)
        if claim["state"] in ("released", "diverged"):
            return "WAITING"
        if claim["state"] == "held" and not is_stale(path, claim):
            return "RUNNING"
        if is_given_up(self._read(key, last), self.plan_file.retries()):
            return "FAILED"
        return "WAITING" if claim["state"] == "failed" else "LOST"

    def error(self, key: str) -> str:
        """Why a cell failed, with the traceback if it raised; or an empty string."""
        return why(self._read(key, self.look(key).last))

    def reason(self, key: str) -> str:
        """Why the cell failed, in a line; empty where nothing went wrong."""
        claims = self._read(key, self.look(key).last)
        if claims and claims[-1]["state"] == "failed" and (reason := claims[-1].get("reason")):
            return str(reason)
        return (why(claims).strip().splitlines() or [""])[-1]
