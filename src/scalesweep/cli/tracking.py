"""What a tracker is told of a sweep when it has been fitted."""

import sys
from collections.abc import Mapping

from scalesweep.config import Settings
from scalesweep.errors import PointsError
from scalesweep.fit import SweepFit
from scalesweep.points import Points
from scalesweep.store import State, Store
from scalesweep.tracker import is_off, log_sweep, summarise_sweep


def track_sweep(store: Store, settings: Settings, states: Mapping[State, int], fit: SweepFit | str) -> None:
    """Log the sweep as a run of its own, with its laws or why there are none; trouble is one line on standard error."""
    if is_off(settings.logger):
        return
    counts = {str(state): number for state, number in states.items()}
    summary = summarise_sweep(store.sweep(), counts, _points(store, settings), fit, store.directory)
    log_sweep(settings.logger, store.directory, summary, lambda line: print(f"warning: {line}", file=sys.stderr, flush=True))


def _points(store: Store, settings: Settings) -> Points | None:
    """Every measured point, of a tuned sweep all that were tried; None where there is none."""
    try:
        return store.points(settings.count)
    except PointsError:
        return None
