"""What the claims of one cell say: whether somebody holds it, how earlier holders ended, and whether it may be tried again.

A claim's `state` is `held` until its holder or, for one that died, its launcher ends it:

    released   given back in order; never counted
    failed     an exception, with its traceback
    diverged   the loss did; written only where such a cell is to be tried again
    lost       the holder died, with the reason as far as a launcher knew it
    hung       the holder gave up itself: its training made no step

A `held` claim whose holder is gone counts as lost, whoever notices. Nothing is counted in memory, so that every launcher, and
the same one after a restart, comes to the same answer.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalesweep.files import Damaged, age, read_json
from scalesweep.run.store.owner import is_gone, is_here, rebooted
from scalesweep.settings.run import RetrySpec

LEASE_SECONDS = 60.0
"""Twelve heartbeats: a disk that answers late for some of them costs no lease, and a dead machine costs a minute."""
HEARTBEAT_SECONDS = 5.0
LOSSES = ("held", "lost", "hung")
Claimed = Mapping[str, Any]


def read_claim(path: Path) -> dict[str, Any]:
    """A claim's content. A damaged one is a claim of nobody known: it holds until its heartbeat is old."""
    try:
        return {"state": "held", "host": "", "boot": "", **read_json(path)}
    except Damaged:
        return {"state": "held", "host": "", "boot": ""}


def is_stale(path: Path, claim: Claimed) -> bool:
    """Whether a held claim has lost its holder.

    A heartbeat in the future, by more than the lease, is from before the clock was set back: a live holder soon mends it.
    """
    return is_gone(claim) or abs(age(path)) > LEASE_SECONDS


def since_reopened(claims: Sequence[Claimed]) -> Sequence[Claimed]:
    """The claims that count: those after the last one with which somebody asked for the cell to be tried anew."""
    reopened = [i for i, claim in enumerate(claims) if claim.get("reopened")]
    return claims[reopened[-1] + 1 :] if reopened else claims


def failures(claims: Sequence[Claimed], state: str = "failed") -> int:
    """Claims that ended so."""
    return sum(claim["state"] == state for claim in since_reopened(claims))


def losses(claims: Sequence[Claimed]) -> list[Claimed]:
    """Claims whose holder died or hung while it had this cell alone.

    One that died with a pack, whose fault nobody knows, is not the cell's: the pack is halved, in the end every cell is alone.
    Nor is the end of the whole machine, nor a death from whose checkpoint a later claim went further: so does one who is
    preempted again and again.
    """
    counted = since_reopened(claims)
    starts = [claim.get("start", 0) for claim in counted]
    ended = [claim for i, claim in enumerate(counted) if claim["state"] in LOSSES and starts[i] >= max(starts[i:])]
    return [claim for claim in ended if claim.get("pack", 1) == 1 and not claim.get("unwritten") and not rebooted(claim)]


def is_given_up(claims: Sequence[Claimed], retries: RetrySpec) -> bool:
    """Whether a cell that nobody holds has failed, or been lost, too often to be tried again."""
    last = claims[-1]["state"]
    if last == "failed":
        return failures(claims) > retries.failed
    return last in LOSSES and len(losses(claims)) > retries.lost


def why(claims: Sequence[Claimed]) -> str:
    """Why the cell failed: its traceback, or how its workers ended; empty where nothing went wrong."""
    if not claims or claims[-1]["state"] == "released":
        return ""
    if lost := [] if claims[-1]["state"] == "failed" else losses(claims):
        reason = lost[-1].get("reason", "")
        often = "once" if len(lost) == 1 else f"{len(lost)} times"
        return f"the worker died {often} with this cell{f', last {reason}' if reason else ''}"
    return str(claims[-1].get("error", ""))


def holder(claim: Claimed) -> int | None:
    """Process id, on this host, of the worker that made the claim."""
    return int(claim["pid"]) if is_here(claim) else None


def claim_text(values: Claimed) -> str:
    """A claim as it is written; without a checksum, as a wrong one of nobody alive is taken over anyway."""
    return json.dumps(dict(values), indent=1)
