"""The commands that plan and measure: run, plan."""

import dataclasses
import sys
from pathlib import Path

from scalesweep.cli.analysis import print_law
from scalesweep.cli.command import TRUST, Command, Given
from scalesweep.cli.laws import print_analysis
from scalesweep.cli.tables import print_plan, wrapped
from scalesweep.errors import EXIT_INCOMPLETE, EXIT_OK, Refused
from scalesweep.run.launch.device import device_of_sweep
from scalesweep.run.launch.monitor import failure_line
from scalesweep.run.launch.pricing import Prices, price_of
from scalesweep.run.store.store import Store
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.trust import trust
from scalesweep.sweep.corpora import prepare_corpora
from scalesweep.sweep.extend import keys_present
from scalesweep.sweep.pooling import pooled_keys
from scalesweep.sweep.run import plan_sweep, run_sweep


def run(given: Given) -> int:
    """Plan, train what is not yet measured, fit, report."""
    trust(given[TRUST])
    done = run_sweep(compose_settings(given.words), _say, _warn)
    measured = done.measured
    if isinstance(done.fit, Refused) or done.page is None:
        _say(f"No law: {done.fit}")
    elif done.analysis and done.analysis.families:
        print_analysis(done.analysis)
        _say(f"\nReport: {done.page}")
    else:
        print_law((done.fit, done.page))
    if not done.num_lacking:
        return EXIT_OK
    counts = ", ".join(f"{number} {state.lower()}" for state, number in sorted(measured.counts.items()))
    lacking = f"{done.num_lacking} of {len(measured.states)} cells {'has' if done.num_lacking == 1 else 'have'} no loss"
    _say(f"{lacking}: {counts}. See: scalesweep status {measured.directory}")
    for key in (key for key, state in measured.states.items() if state == "FAILED"):
        _say(failure_line(Store(measured.directory), key))
    return EXIT_INCOMPLETE


RUN = Command(
    "run",
    about="Plan a sweep, train what is not yet measured, fit the law, write the report.",
    usage="[sweep=PRESET] [key=value ...] [trust=package.module]",
    run=run,
    examples=(
        "scalesweep run",
        "scalesweep run data=enwik8 sweep.name=wiki 'sweep.sizes=[20k,60k,200k]' 'sweep.budgets=[128k,512k]'",
        "scalesweep run sweep.tune.recipe.lr=1e-3..3e-2:6",
        "scalesweep run 'sweep.seeds=[0,1]' recipe.lr=0.004 dir=runs/lr4",
    ),
    groups=("sweep", "recipe", "model", "data", "optim", "train", "launcher", "logger", "fit", "report"),
    options=(TRUST,),
    is_measuring=True,
)


def plan(given: Given) -> int:
    """Print the priced table of cells."""
    trust(given[TRUST])
    settings = compose_settings(given.words)
    device = device_of_sweep(settings)
    corpora = prepare_corpora(settings, _say)
    present = keys_present(Store(Path(settings.dir).expanduser()))
    prices = Prices(settings, device)
    planned = plan_sweep(settings, corpora, device, present, present, prices)
    price = price_of(planned, prices)
    print_plan(planned, settings, price)
    _say(wrapped(prices.describe()))
    keys, said = pooled_keys(planned, settings, device)
    if said:
        rest = dataclasses.replace(planned, cells=tuple(cell for cell in planned.cells if cell.key not in keys))
        left = price_of(rest, prices) if keys and rest.cells else price
        cost = f"; the others take {left.cost.hours}" if keys and rest.cells and left else ""
        _say(wrapped(f"{said}{cost}."))
    for warning in planned.warnings:
        _warn(warning)
    return EXIT_OK


PLAN = Command(
    "plan",
    about="Print the cells of a sweep with their price, by a short benchmark. Trains nothing; may cache the corpus.",
    usage="[sweep=PRESET] [key=value ...] [trust=package.module]",
    run=plan,
    examples=(
        "scalesweep plan",
        "scalesweep plan sweep=chinchilla_small",
        "scalesweep plan sweep.design=rays 'sweep.budgets=[5,20,80]'",
        "scalesweep plan 'sweep.axes.recipe.lr=[0.003,0.006,0.012]'",
        "scalesweep plan budget.hours=0.1 cost.usd_per_device_hour=0.05",
    ),
    groups=("sweep", "recipe", "model", "data", "optim", "train", "launcher"),
    options=(TRUST,),
)


COMMANDS = (RUN, PLAN)


def _warn(line: str) -> None:
    print(wrapped(f"warning: {line}"), file=sys.stderr, flush=True)


def _say(message: str) -> None:
    print(message, flush=True)
