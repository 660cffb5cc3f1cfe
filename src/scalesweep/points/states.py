"""Which rows are runs that ended well."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from scalesweep.points.values import is_blank

COLUMNS = ("state", "status", "_state", "run_state")
"""Columns that say how a run ended, in any case."""
FINISHED = ("finished", "complete", "completed", "success", "succeeded", "successful", "done", "ok")
"""Values, in any case, whose rows are used; an empty one too."""
UNFINISHED = (
    *("diverged", "failed", "failure", "crashed", "killed", "lost", "nan", "running", "preempted", "preempting", "pending"),
    *("queued", "paused", "stopped", "cancelled", "canceled", "error", "timeout", "oom", "interrupted", "incomplete"),
    "unfinished",
)
"""Values that show the column to be one of states. Any other value beside them is one as well, and its rows are left out."""
NO_LOSS = "no loss"
"""Reason of a row without a loss."""


def reasons_of(table: Mapping[str, Sequence[Any]]) -> list[str]:
    """Why each row is left out: its own `excluded_reason`, or a state that is not finished; empty where it is used."""
    num_rows = len(next(iter(table.values())))
    reasons = ["" if is_blank(reason) else str(reason) for reason in table.get("excluded_reason", [""] * num_rows)]
    for name in (name for name in table if name.lower() in COLUMNS):
        states = ["" if is_blank(state) else str(state).strip() for state in table[name]]
        if not {state.lower() for state in states} & {*FINISHED, *UNFINISHED}:
            continue
        reasons = [
            reason or (f"{name}: {state}" if state and state.lower() not in FINISHED else "")
            for reason, state in zip(reasons, states, strict=True)
        ]
    return reasons


def counted(reasons: Sequence[str]) -> str:
    """Rows that are left out by reason, in words: `3 left out: State crashed; 2: no loss`; empty where none is."""
    counts = Counter(reason.replace(": ", " ", 1) for reason in reasons if reason)
    parts = [f"{number}: {reason}" for reason, number in counts.most_common()]
    if not parts:
        return ""
    first, *others = parts
    return "; ".join([first.replace(":", " left out:", 1), *others])
