"""A sweep that chooses its cells: the rounds of `analysis.forecast.rounds`, measured in a store.

Each round is written to rounds.json, with what is predicted of its cells, before any of them is planned, let alone trained. So
whenever the command is killed, the next call finds either the whole round or none, measures what is missing of it, and goes on
as the first one would have.
"""

import dataclasses
from collections.abc import Collection
from pathlib import Path

from scalesweep.analysis.forecast.rounds import End, Log, next_round, predict_cells
from scalesweep.errors import PointsError, SpecError
from scalesweep.packages import require_measuring
from scalesweep.plan.grid import Device
from scalesweep.report.words.adaptive import describe_end, describe_round
from scalesweep.run.launch.device import device_of_sweep, suited
from scalesweep.run.launch.signals import signals_interrupt
from scalesweep.run.store.measured import read_measured
from scalesweep.run.store.store import FINISHED, Store
from scalesweep.run.tracker import require_ready
from scalesweep.settings.settings import Settings
from scalesweep.sweep.checkup import check_once
from scalesweep.sweep.corpora import Corpora, prepare_corpora
from scalesweep.sweep.growth import refuse_another
from scalesweep.sweep.pooling import keys_present
from scalesweep.sweep.rounds import read_rounds, snap_by_recipe, with_rounds, with_standing, write_rounds
from scalesweep.sweep.run import WANTED, Say, Swept, Wanted, conclude, keep_plan, measure_all, plan_sweep
from scalesweep.units import format_number


@signals_interrupt()
def run_adaptive(
    settings: Settings, asked: Log, say: Say, warn: Say, named: Collection[str] | None = None, wanted: Wanted = WANTED
) -> Swept:
    """Measure the grid, and round after round what tells the most, until the goal is reached or the budget spent.

    Args:
        settings: the grid that is the start, and all else; the sweep in their directory is begun, or goes on.
        asked: goal, budget and method; what rounds there were stands in the directory.
        say: takes lines on what is being done.
        warn: takes what the user should know of the design, each once.
        named: as of `growth.refuse_unasked`.
        wanted: what is written and told at the end.

    Raises:
        ScaleSweepError: what is asked for cannot be measured here, or the directory cannot be written.
        KeyboardInterrupt: SIGINT or SIGTERM ended it.
    """
    _check(settings)
    require_measuring()
    require_ready(settings.logger)
    directory = Path(settings.dir).expanduser()
    store = Store(directory)
    refuse_another(store, settings, named)
    settings = with_standing(settings, store)
    device = device_of_sweep(settings)
    settings = suited(settings, device, warn)
    check_once(settings, device, say)
    corpora = prepare_corpora(settings, say)
    before = read_rounds(directory)
    log = dataclasses.replace(asked, rounds=() if before is None else before.rounds, end=None)
    if before is None:
        _check_start(settings, corpora, device, asked)
        present = keys_present(store)
        keep_plan(store, plan_sweep(settings, corpora, device, present, present), settings, corpora, named)
        write_rounds(directory, log)  # in which `resume` finds what was asked for, however early this ends
    warned: set[str] = set()

    def warn_once(line: str) -> None:
        if line not in warned:
            warned.add(line)
            warn(line)

    while True:
        grown = with_rounds(settings, log)
        store = measure_all(grown, corpora, device, say, warn_once, named)
        if any(state not in FINISHED for state in store.states().values()):
            return conclude(store, grown, say, warn, wanted)  # failed cells: the next call tries them again
        try:
            points = read_measured(store, with_curves=False).points(settings.count)
        except PointsError:  # every cell diverged
            return conclude(store, grown, say, warn, wanted)
        (facts,) = corpora.facts(settings).values()
        made = next_round(points, log, settings.fit, snap_by_recipe(settings, facts, device), predict_cells)
        if isinstance(made, End):
            say(describe_end(made, log))
            write_rounds(directory, dataclasses.replace(log, end=made))
            return conclude(store, grown, say, warn, wanted)
        say(describe_round(made, log, len(log.rounds) + 1))
        log = log.with_round(made)
        write_rounds(directory, log)


def _check(settings: Settings) -> None:
    """Refuse what has no rounds."""
    if settings.sweep.tune is not None or settings.sweep.axes:
        name = "sweep.tune" if settings.sweep.tune is not None else "sweep.axes"
        raise SpecError(f"until= chooses sizes and budgets of one recipe; leave {name} out, or measure its best setting.")
    if limits := [f"budget.{name}" for name, value in settings.budget if value is not None]:
        raise SpecError(f"{limits[0]} shrinks a declared grid; with until= the limit is budget=FLOPs: leave {limits[0]} out.")
    if settings.fit.bootstrap == 0:
        raise SpecError("fit.bootstrap = 0: until= waits for an interval, which needs resamples.")


def _check_start(settings: Settings, corpora: Corpora, device: Device, asked: Log) -> None:
    """Refuse a start that costs the whole budget, before it is measured."""
    cost = sum(cell.flops(settings.count) for cell in plan_sweep(settings, corpora, device).cells)
    if cost >= asked.budget_flops:
        raise SpecError(
            f"budget = {format_number(asked.budget_flops)}: the grid that is measured first costs {format_number(cost)} FLOPs; "
            "raise it, or declare smaller sizes or budgets."
        )
