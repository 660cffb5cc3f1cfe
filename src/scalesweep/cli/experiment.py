"""The commands that plan and measure: run, resume, plan."""

import dataclasses
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scalesweep.cli.answer import FAIL_ON, JSON, Answer, answered, doubts_of, plan_content
from scalesweep.cli.command import FIGURES, TRUST, Command, Given, Option, flag, one_of, positive
from scalesweep.cli.output import copied_output, look, working
from scalesweep.cli.tables import print_plan, wrapped
from scalesweep.errors import EXIT_INCOMPLETE, EXIT_OK, Refused, SpecError
from scalesweep.run.launch.device import suited
from scalesweep.run.launch.monitor import failure_line
from scalesweep.run.launch.pricing import Prices, planned_device, price_of
from scalesweep.run.store.store import Store
from scalesweep.settings.compose import compose_settings, named_settings
from scalesweep.settings.settings import Settings
from scalesweep.settings.trust import trust
from scalesweep.settings.words import written
from scalesweep.sweep.cells import GRID, in_place_of_grid, read_cells
from scalesweep.sweep.corpora import prepare_corpora
from scalesweep.sweep.pooling import keys_present, pooled_keys
from scalesweep.sweep.rounds import read_rounds, with_further
from scalesweep.sweep.run import Swept, Wanted, plan_sweep, run_sweep

if TYPE_CHECKING:  # loaded by who chooses cells, or fits
    from scalesweep.analysis.forecast.goal import Goal
    from scalesweep.analysis.forecast.next_cells import Method
    from scalesweep.analysis.forecast.rounds import Log


def _goal(text: str) -> "Goal":
    from scalesweep.analysis.forecast.goal import parse_goal

    return parse_goal(text)


UNTIL: "Option[Goal | None]" = Option(
    "until", _goal, None, "Choose cells round by round until a half-width is reached: 'a<.03', 'error<3%'.", "GOAL"
)
BUDGET = Option[float | None](
    "budget", positive, None, "With until=: FLOPs that all cells may cost, the grid included.", "FLOPs"
)
TARGET = Option[float | None]("target", positive, None, "With until='error<...': FLOPs of the model to predict.", "FLOPs")


def _method(text: str) -> "Method":
    names: tuple[Method, ...] = ("ladder", "v_optimal")
    return one_of(*names)(text)


METHOD: "Option[Method | None]" = Option("method", _method, None, "With until='error<...': as of `next`.", "ladder|v_optimal")

PAGE = Option("report", one_of("page", "none"), "page", "Whether to write the page, or fit.json and tables alone.", "page|none")
CELLS = Option[Path | None]("cells", Path, None, "Table of N and D in place of a grid, as `next` writes it.", "cells.csv", GRID)
EXTEND = flag("--extend", "Add cells to the sweep of the directory also by settings that this command does not name.")


def run(given: Given) -> Answer:
    """Plan, train what is not yet measured, fit, report."""
    trust(given[TRUST])
    asked = _adaptive(given)
    settings = _composed(given)
    named = None if given[EXTEND] else [*named_settings(given.words), *(GRID if given[CELLS] else ())]
    warnings, warn = _noting()
    return _told(_run(settings, asked, warn, named, given), warnings, given)


def _run(
    settings: Settings, asked: "Log | None", warn: Callable[[str], None], named: Sequence[str] | None, given: Given
) -> Swept:
    """The sweep, in rounds where it chooses its cells."""
    if asked is None:
        return run_sweep(settings, _say, warn, named, _wanted(given))
    from scalesweep.sweep.adapt import run_adaptive

    return run_adaptive(settings, asked, _say, warn, named, _wanted(given))


def _composed(given: Given) -> Settings:
    """The settings that a command gives, with the cells of its table in place of a grid, and called after that table."""
    if (path := given[CELLS]) is None:
        return compose_settings(given.words)
    cells, named = read_cells(path.expanduser()), named_settings(given.words)
    words = [] if "sweep.name" in named else [f"sweep.name={written(path.stem)}"]
    if not {"sweep.sizes", "sweep.budgets"} & named.keys():  # a sweep file need not have a grid then
        words += ["sweep.sizes=[1]", "sweep.budgets=[1]"]
    return in_place_of_grid(compose_settings([*given.words, *words]), cells, named)


def _noting() -> tuple[list[str], Callable[[str], None]]:
    """A list, and what warns people of a line and puts it there."""
    noted: list[str] = []

    def warn(line: str) -> None:
        noted.append(line)
        _warn(line)

    return noted, warn


def _wanted(given: Given) -> Wanted:
    """What is written and told at the end; programs need what was found, not the words of an earlier call."""
    return Wanted(given[FIGURES], given[PAGE] == "page", _tell, look(), working, may_repeat=not _is_for_programs(given))


def _is_for_programs(given: Given) -> bool:
    return given[JSON] or bool(given[FAIL_ON])


def _told(done: Swept, warnings: Sequence[str], given: Given) -> Answer:
    """What a sweep came to, for programs; cells without a loss are named to people."""
    measured = done.measured
    content = {
        "directory": str(measured.directory),
        "states": dict(measured.counts),
        "lacking": done.num_lacking,
        "warnings": warnings,
        "refusal": str(done.fit) if isinstance(done.fit, Refused) else None,
        "report": None if done.page is None else str(done.page),
        "fit": done.analysis.to_dict() if done.analysis and given[JSON] else None,
    }
    doubts = doubts_of(done.analysis) if _is_for_programs(given) else frozenset()
    if not done.num_lacking:
        return Answer(content, EXIT_OK, doubts)
    counts = ", ".join(f"{number} {state.lower()}" for state, number in sorted(measured.counts.items()))
    lacking = f"{done.num_lacking} of {len(measured.states)} cells {'has' if done.num_lacking == 1 else 'have'} no loss"
    _say(f"{lacking}: {counts}. See: scalesweep status {measured.directory}")
    for key in (key for key, state in measured.states.items() if state == "FAILED"):
        _say(failure_line(Store(measured.directory), key))
    return Answer(content, EXIT_INCOMPLETE, doubts)


def _tell(done: Swept) -> str:
    """Print what was found; the same as text."""
    from scalesweep.cli.laws import print_analysis, print_fit
    from scalesweep.fit.sweep_fit import SweepFit

    with copied_output() as copy:
        if not isinstance(done.fit, SweepFit):
            _say(f"No law: {done.fit}")
        elif done.analysis and done.analysis.families:
            print_analysis(done.analysis)
        else:
            print()
            print_fit(done.fit)
        if done.page is not None:
            _say(f"\nReport: {done.page}")
        elif isinstance(done.fit, SweepFit):
            place = shlex.quote(str(done.measured.directory))
            _say(f"\nWritten to {place}: fit.json and tables. The page with its figures: scalesweep report {place}")
    return copy.getvalue().removesuffix("\n")


def _adaptive(given: Given) -> "Log | None":
    """What is asked of an adaptive sweep; None where the grid is all.

    Raises:
        SpecError: an option of it without until=, or one that is missing or has no effect.
    """
    goal = given[UNTIL]
    options = (BUDGET, TARGET, METHOD)
    if goal is None:
        if idle := [option.name for option in options if given.values[option.name] is not None]:
            limit = "; the limit of a declared grid is budget.flops=FLOPs" if idle[0] == "budget" else ""
            raise SpecError(f"{idle[0]}= has an effect only with until=GOAL, such as until='a<.03' budget=1e13{limit}.")
        return None
    budget, target, method = given[BUDGET], given[TARGET], given[METHOD]
    if budget is None:
        raise SpecError("until= needs budget=FLOPs, what all cells may cost, such as budget=1e13.")
    if goal.quantity == "error" and target is None:
        raise SpecError(
            "until='error<...' needs target=FLOPs, the compute at which the loss is to be known, such as target=1e14."
        )
    if goal.quantity == "a" and (target or method):
        name = "target" if target else "method"
        raise SpecError(f"{name}= has no effect with until='a<...', whose cells are chosen for the exponent; leave it out.")
    from scalesweep.analysis.forecast.rounds import Log

    return Log(dataclasses.replace(goal, target_flops=target), budget, method or "ladder")


RUN = Command(
    "run",
    about="Plan a sweep, train what is not yet measured, fit the law, write the report.",
    usage="[FILE.yaml] [sweep=PRESET] [cells=cells.csv] [key=value ...] [until=GOAL budget=FLOPs [target=FLOPs] "
    "[method=ladder|v_optimal]] [--extend] "
    "[report=page|none] [figures=none|png|all] [trust=package.module] [fail_on=A08,weak] [--json]",
    run=answered(run),
    examples=(
        "scalesweep run",
        "scalesweep run examples/sweep.yaml",
        "scalesweep run data=enwik8 sweep.name=wiki 'sweep.sizes=[20k,60k,200k]' 'sweep.budgets=[128k,512k]'",
        "scalesweep run sweep.tune.recipe.lr=1e-3..3e-2:6",
        "scalesweep run 'sweep.seeds=[0,1]' recipe.lr=0.004 dir=runs/lr4",
        "scalesweep run until='a<.03' budget=2e13 sweep.sizes=[14k,42k,126k] sweep.budgets=[128k,256k,512k]",
        "scalesweep run until='error<3%' target=1e14 budget=2e13 dir=runs/large",
    ),
    groups=("sweep", "recipe", "model", "data", "optim", "train", "launcher", "logger", "fit", "report"),
    options=(CELLS, UNTIL, BUDGET, TARGET, METHOD, EXTEND, PAGE, FIGURES, TRUST, FAIL_ON, JSON),
    takes_file=True,
    is_measuring=True,
)


def resume(given: Given) -> Answer:
    """Go on with the sweep of a directory by the settings that stand in it, in rounds where it chooses its cells."""
    trust(given[TRUST])
    directory = Path(given.words[0])
    store = Store(directory.expanduser())
    settings = store.plan_file.settings().model_copy(update={"dir": str(directory)})
    if (name := store.plan_file.content()["name"]) != settings.sweep.name:  # cells of several sweeps, put there by studies
        raise SpecError(
            f"{directory} holds the cells of {name}, which no one sweep planned; repeat the scalesweep study that did."
        )
    if (path := given[MORE]) is not None:
        settings = with_further(settings, read_cells(path.expanduser()))
    log = read_rounds(store.directory)
    warnings, warn = _noting()
    done = _run(settings, log, warn, None, given)
    return _told(done, warnings, given)


MORE = dataclasses.replace(CELLS, about="Table of N and D that are measured too, as `next` writes it.")
RESUME = Command(
    "resume",
    about="Go on with a sweep by the settings that it was started with: train what is not yet measured, fit, report.",
    usage="DIR [cells=cells.csv] [report=page|none] [figures=none|png|all] [trust=package.module] [fail_on=A08,weak] [--json]",
    run=answered(resume),
    examples=(
        "scalesweep resume runs/demo",
        "scalesweep resume runs/demo cells=cells.csv",
        "scalesweep resume /scratch/runs/demo",
    ),
    options=(MORE, PAGE, FIGURES, TRUST, FAIL_ON, JSON),
    takes="one directory, cells, report, figures, trust, fail_on and --json",
    num_words=1,
    is_measuring=True,
)


def plan(given: Given) -> Answer:
    """Print the priced table of cells."""
    trust(given[TRUST])
    settings = _composed(given)
    device = planned_device(settings)
    settings = suited(settings, device, _warn)
    corpora = prepare_corpora(settings, _say)
    present = keys_present(Store(Path(settings.dir).expanduser()))
    prices = Prices(settings, device, say=_say)
    planned = plan_sweep(settings, corpora, device, present, present, prices)
    price = price_of(planned, prices)
    print_plan(planned, settings, price)
    _say(wrapped(prices.describe(planned)))
    keys, said = pooled_keys(planned, settings, device)
    if said:
        rest = dataclasses.replace(planned, cells=tuple(cell for cell in planned.cells if cell.key not in keys))
        cost = f"; the others take {price_of(rest, prices).cost.hours}" if keys and rest.cells else ""
        _say(wrapped(f"{said}{cost}."))
    for warning in planned.warnings:
        _warn(warning)
    return Answer({"directory": settings.dir, **plan_content(planned, device, price), "pooled": list(keys)})


PLAN = Command(
    "plan",
    about="Print the cells of a sweep with their price, by a short benchmark. Trains nothing; may cache the corpus.",
    usage="[FILE.yaml] [sweep=PRESET] [cells=cells.csv] [key=value ...] [trust=package.module] [--json]",
    run=answered(plan),
    examples=(
        "scalesweep plan",
        "scalesweep plan sweep=chinchilla_small",
        "scalesweep plan sweep.design=rays 'sweep.budgets=[5,20,80]'",
        "scalesweep plan 'sweep.axes.recipe.lr=[0.003,0.006,0.012]'",
        "scalesweep plan budget.hours=0.1 cost.usd_per_device_hour=0.05",
    ),
    groups=("sweep", "recipe", "model", "data", "optim", "train", "launcher"),
    options=(CELLS, TRUST, JSON),
    takes_file=True,
)


COMMANDS = (RUN, RESUME, PLAN)


def _warn(line: str) -> None:
    print(wrapped(f"warning: {line}"), file=sys.stderr, flush=True)


def _say(message: str) -> None:
    print(message, flush=True)
