"""Who works on which cell, and how earlier ones ended; the second layer of `store.Store`, whose protocol this is."""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scalesweep.files import age, write_json, write_new
from scalesweep.run.store import claims
from scalesweep.run.store.claims import read_claim
from scalesweep.run.store.owner import is_gone, this_process
from scalesweep.run.store.plan_file import PlanFile
from scalesweep.run.store.schema import SCHEMA

State = Literal["WAITING", "RUNNING", "COMPLETE", "DIVERGED", "FAILED", "LOST"]
CLAIMABLE: frozenset[State] = frozenset({"WAITING", "LOST"})


@dataclass(frozen=True)
class Claim:
    """One worker's hold on one cell."""

    key: str
    number: int
    path: Path


class Holding(PlanFile):
    """A sweep's directory, as far as it says who measures what."""

    def claim(self, key: str) -> Claim | None:
        """Take the cell, or None where it is finished, failed, held, or somebody was faster."""
        finished, last = self._look(key)
        if finished or self._unfinished_state(key, last) not in CLAIMABLE:
            return None
        # The new number is one above the claim that was judged: if another one came in between, this one must not exist.
        claim = Claim(key, last + 1, self._claim_file(key, last + 1))
        self.cell_dir(key).mkdir(exist_ok=True)  # copies and archives can leave empty directories out
        text = claims.claim_text({"schema": SCHEMA, "state": "held", **this_process()})
        if not write_new(claim.path, text):
            return None
        if self.is_finished(key):  # its holder wrote the record and ended between the look at it and the look at its claim
            self.release(claim)
            return None
        return claim

    def describe_claim(self, claim: Claim, pack: int, start: int) -> None:
        """Note in a claim with how many it is stepped together and after which step, before anything is trained."""
        if pack > 1 or start > 0:
            write_json(claim.path, {**read_claim(claim.path), "pack": pack, "start": start})

    def holds(self, claim: Claim) -> bool:
        """Whether the claim is still the highest one."""
        return self._last_claim(claim.key) == claim.number

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

    def fail(self, claim: Claim, error: str) -> None:
        """End the claim with the reason of its failure."""
        self._end(claim, "failed", error=error)

    def give_up(self, claim: Claim, reason: str) -> None:
        """End a claim whose training makes no step, so that others need not wait for the lease."""
        if self.holds(claim):
            self._end(claim, "hung", reason=reason)

    def retry_diverged(self, claim: Claim) -> bool:
        """End the claim of a diverged cell without a record if it is to be tried again, from its trunk or its first step."""
        tried = self._claims(claim.key, claim.number)
        if claims.failures(tried, "diverged") >= self.retries().diverged or not self.holds(claim):
            return False
        for path in self._checkpoints(claim.key):
            path.unlink(missing_ok=True)
        self._end(claim, "diverged")
        return True

    def _end(self, claim: Claim, state: str, **more: str) -> None:
        known = {name: value for name, value in read_claim(claim.path).items() if name in ("pack", "start")}
        write_json(claim.path, {"schema": SCHEMA, "state": state, **more, **known, **this_process()})

    def checkpoint(self, key: str) -> Path:
        """Where the state of a cell in training is kept."""
        return self.cell_dir(key) / "checkpoint.pt"

    def _checkpoints(self, key: str) -> list[Path]:
        return list(self.cell_dir(key).glob("checkpoint*.pt"))

    def reopen_failed(self, keys: Iterable[str] | None = None) -> list[str]:
        """Let failed cells, or those of `keys`, be claimed again and counted anew; return their keys."""
        reopened = []
        for key in self.keys() if keys is None else keys:
            finished, last = self._look(key)
            if not finished and self._unfinished_state(key, last) == "FAILED":
                path = self._claim_file(key, last)
                write_json(path, {**read_claim(path), "state": "released", "reopened": True})
                reopened.append(key)
        return reopened

    def mark_lost(self, key: str, pid: int, reason: str) -> bool:
        """Note how the worker `pid` of this host ended, if it held the cell; whether it did."""
        last = self._last_claim(key)
        claim = read_claim(self._claim_file(key, last)) if last else {}
        if claims.holder(claim) != pid or claim["state"] not in claims.LOSSES:
            return False
        if claim["state"] == "held":
            with contextlib.suppress(OSError):
                write_json(self._claim_file(key, last), {**claim, "state": "lost", "reason": reason})
        return True

    def stuck(self, key: str) -> dict[int, bool]:
        """Processes of this host that live and hold the cell without working on it; True for those that said so themselves.

        The others only stopped to heartbeat: paused, or about to go on after the whole machine slept.
        """
        last = self._last_claim(key)
        alive = [(n, c) for n, c in enumerate(self._claims(key, last), 1) if claims.holder(c) and not is_gone(c)]
        found = {c["pid"]: True for _, c in alive if c["state"] == "hung"}
        stale = [c for n, c in alive if n == last and c["state"] == "held" and claims.is_stale(self._claim_file(key, n), c)]
        return {**{c["pid"]: False for c in stale}, **found}

    def holder(self, key: str) -> int | None:
        """Process id on this host of the worker that made the highest claim; None where there is none."""
        last = self._last_claim(key)
        return claims.holder(read_claim(self._claim_file(key, last))) if last else None

    def log(self, key: str) -> Path:
        """Where the last worker on the cell wrote what it had to say; the claim itself, with the reason, if nowhere else."""
        last = self._last_claim(key)
        name = read_claim(self._claim_file(key, last)).get("log") if last else ""
        return self.directory / "logs" / Path(name).name if name else self._claim_file(key, last)

    def owner(self, key: str) -> dict[str, Any] | None:
        """Who made the highest claim (`owner.this_process`), with `number` and `age`, seconds since its heartbeat.

        Of a damaged claim, of nobody known, the host is empty and the process 0.
        """
        last = self._last_claim(key)
        path = self._claim_file(key, last)
        if not last:
            return None
        claim = read_claim(path)
        pid = claim["pid"] if isinstance(claim.get("pid"), int) else 0
        return {**claim, "pid": pid, "number": last, "age": age(path)}

    def lost_claims(self, key: str) -> int:
        """Claims of a cell, which nobody holds now, that ended with the death of their holder."""
        return sum(c["state"] in claims.LOSSES and not c.get("unwritten") for c in self._claims(key, self._last_claim(key)))

    def _claims(self, key: str, last: int) -> list[dict[str, Any]]:
        """The claims up to `last`, in their order."""
        found = []
        for path in (self._claim_file(key, number) for number in range(1, last + 1)):
            if path.exists():
                claim = read_claim(path)
                unwritten = claim["state"] == "held" and path.stat().st_mtime == 0
                found.append({**claim, "unwritten": True} if unwritten else claim)
        return found

    def _claim_file(self, key: str, number: int) -> Path:
        return self.cell_dir(key) / f"claim-{number}"

    def _last_claim(self, key: str) -> int:
        """Number of the highest claim, 0 where there is none."""
        return self._look(key)[1]

    def _look(self, key: str) -> tuple[bool, int]:
        """Whether there is a record, and the number of the highest claim, 0 where there is none."""
        try:
            with os.scandir(self.cell_dir(key)) as entries:
                names = [entry.name for entry in entries]
        except FileNotFoundError:
            names = []
        numbers = [int(n[6:]) for n in names if n.startswith("claim-") and n[6:].isdigit()]
        return "record.json" in names, max(numbers, default=0)

    def _unfinished_state(self, key: str, last: int) -> State:
        """The state of a cell without a record, given the number of the highest claim."""
        if last == 0:
            return "WAITING"
        path = self._claim_file(key, last)
        claim = read_claim(path)
        if claim["state"] in ("released", "diverged"):
            return "WAITING"
        if claim["state"] == "held" and not claims.is_stale(path, claim):
            return "RUNNING"
        if claims.is_given_up(self._claims(key, last), self.retries()):
            return "FAILED"
        return "WAITING" if claim["state"] == "failed" else "LOST"

    def is_finished(self, key: str) -> bool:
        """Whether there is a record, without reading it."""
        return (self.cell_dir(key) / "record.json").exists()

    def error(self, key: str) -> str:
        """Why a cell failed, with the traceback if it raised; or an empty string."""
        return claims.why(self._claims(key, self._last_claim(key)))
