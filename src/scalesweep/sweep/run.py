"""The whole way, from settings to measured points, laws and a report."""

import dataclasses
import math
import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scalesweep.errors import FitError, PointsError, Refused, StoreError
from scalesweep.files import plain_storage_errors
from scalesweep.packages import require_measuring
from scalesweep.plan.budget import describe, exceeded, shrink
from scalesweep.plan.grid import Device
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.run.launch import launch
from scalesweep.run.launch.device import device_of_sweep, num_gpus, suited
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.launch.pricing import Prices, idle_devices, limits_of, price_of
from scalesweep.run.launch.signals import signals_interrupt
from scalesweep.run.store.measured import Measured, read_measured
from scalesweep.run.store.stated import stated_corpora
from scalesweep.run.store.store import FINISHED, Store
from scalesweep.run.tracker import is_off, require_ready
from scalesweep.settings.settings import Settings
from scalesweep.sweep.checkup import ceiling_of, check_once
from scalesweep.sweep.corpora import Corpora, prepare_corpora
from scalesweep.sweep.growth import refuse_another, refuse_unasked
from scalesweep.sweep.pooling import keys_present, take_here
from scalesweep.sweep.rounds import with_standing
from scalesweep.units import plural

if TYPE_CHECKING:  # a call that finds nothing new needs no law, and is over before these are loaded
    from scalesweep.analysis.analyse import Analysis
    from scalesweep.fit.sweep_fit import SweepFit
    from scalesweep.report import Pictures
    from scalesweep.sweep.subject import During

Say = Callable[[str], None]
"""Takes one line on what is being done."""


@dataclass(frozen=True)
class Swept:
    """A sweep that was run: what was measured and what was found."""

    measured: Measured
    fit: "SweepFit | Refused | None"
    """None where an earlier call found it and nothing has changed since: its words were said again."""
    page: Path | None
    """The report; None where there are no laws, or no page was wanted."""
    analysis: "Analysis | None" = None
    """All that was found; None where there are no laws, or an earlier call found them."""

    @property
    def num_lacking(self) -> int:
        """Cells without the loss that they were to have."""
        counts = self.measured.counts
        # A tuned range may well end where training diverges, but not all of it may.
        is_tuned = self.measured.settings.sweep.tune is not None and counts["COMPLETE"] > 0
        wanted = FINISHED if is_tuned else {"COMPLETE"}
        return sum(number for state, number in counts.items() if state not in wanted)


@dataclass(frozen=True)
class Wanted:
    """What is written and told when everything is measured."""

    pictures: "Pictures" = "png"
    """Files of figures beside the page."""
    has_page: bool = True
    """Whether there is a page, beside fit.json and the tables."""
    tell: Callable[[Swept], str] | None = None
    """Tells people what was found, and gives the words; where nothing has changed since, these are said again instead."""
    look: str = ""
    """How these words are set, such as for a terminal of so many columns."""
    during: "During" = lambda _: nullcontext()
    """Given what is being done, a context that shows it meanwhile."""
    may_repeat: bool = True
    """Whether words may stand for what was found; False for who needs the laws themselves."""

    @property
    def how(self) -> str:
        """All that decides what is written and how it looks, as text."""
        return f"{self.pictures} {self.has_page} {self.look}"


WANTED = Wanted()
"""The page with its figures, and no words."""


@signals_interrupt()
def run_sweep(settings: Settings, say: Say, warn: Say, named: Collection[str] | None = None, wanted: Wanted = WANTED) -> Swept:
    """Plan, train what is not yet measured, extend tuned ranges, fit, report, and tell the tracker.

    Args:
        settings: what is asked for; the sweep in their directory is begun, or goes on.
        say: takes lines on what is being done.
        warn: takes what the user should know of the design, and trouble with the tracker.
        named: as of `growth.refuse_unasked`.
        wanted: what is written and told at the end.

    Raises:
        ScaleSweepError: what is asked for cannot be measured here, or the directory cannot be written.
        Cancelled: somebody cancelled the sweep.
        KeyboardInterrupt: SIGINT or SIGTERM ended it; checkpoints are written.
    """
    require_measuring()
    require_ready(settings.logger)
    store = Store(Path(settings.dir).expanduser())
    refuse_another(store, settings, named)
    settings = with_standing(settings, store)
    device = device_of_sweep(settings)
    settings = suited(settings, device, warn)
    check_once(settings, device, say)
    corpora = prepare_corpora(settings, say)
    return conclude(measure_all(settings, corpora, device, say, warn, named), settings, say, warn, wanted)


def measure_all(
    settings: Settings, corpora: Corpora, device: Device, say: Say, warn: Say, named: Collection[str] | None = None
) -> Store:
    """Plan, train what is not yet measured, and extend tuned ranges; what `run_sweep` does before it fits.

    Raises:
        ScaleSweepError: as of `run_sweep`.
    """
    store = Store(Path(settings.dir).expanduser())
    with plain_storage_errors(store.directory):
        store.clear_cancel()
    present = keys_present(store)
    plan = plan_sweep(settings, corpora, device, present, present, Prices(settings, device, say=say))
    added = keep_plan(store, plan, settings, corpora, named)
    for warning in plan.warnings:
        warn(warning)
    with plain_storage_errors(store.directory):
        store.claims.reopen_failed()
    measure(store, plan, settings, device, added, say)
    if settings.sweep.tune is not None:
        measure_edges(store, plan, settings, corpora, device, say)
    measure_sets(store, plan, device, say)
    return store


def conclude(store: Store, settings: Settings, say: Say, warn: Say, wanted: Wanted = WANTED) -> Swept:
    """Fit what was measured, write the report, and tell people and the tracker; once for the same records and settings."""
    from scalesweep.sweep.concluded import basis_of, keep_words, words_of

    basis = basis_of(store, settings, wanted.how) if wanted.tell and wanted.may_repeat and is_off(settings.logger) else ""
    if basis and (said := words_of(store, basis)) is not None:
        say(said)
        page = store.directory / "report.html"
        return Swept(read_measured(store, with_curves=False), None, page if wanted.has_page and page.is_file() else None)
    swept = _fitted(store, settings, say, wanted)
    if swept.fit is not None:
        from scalesweep.sweep.tracking import track_sweep

        track_sweep(swept.measured, settings, swept.fit, warn, swept.analysis.families if swept.analysis else None)
    said = wanted.tell(swept) if wanted.tell else ""
    if basis:
        keep_words(store, basis, said)
    return swept


def _fitted(store: Store, settings: Settings, say: Say, wanted: Wanted) -> Swept:
    """What was measured and what it says, written into the directory."""
    from scalesweep.sweep.subject import sweep_subject, write

    measured, page, analysis = read_measured(store), None, None
    found: SweepFit | Refused
    try:
        subject = sweep_subject(measured, settings, [])
        if subject.context.tuning:
            say(f"\n{subject.context.tuning}")
        analysis, page = write(subject, wanted.pictures, wanted.has_page, wanted.during)
        found = analysis.fit
    except (FitError, PointsError) as error:
        found = Refused(str(error))
    return Swept(measured, found, page, analysis)


def keep_plan(store: Store, plan: Plan, settings: Settings, corpora: Corpora, named: Collection[str] | None = None) -> int:
    """Write or extend the plan in the directory; the number of new cells.

    Raises:
        StoreError: the directory cannot be written, holds another sweep, one with another text of a validation set, or one that
            would grow by settings which are not `named`, as of `growth.refuse_unasked`.
    """
    refuse_unasked(store, plan, settings, named)
    before = store.plan_file.content()["facts"].get("validation", {}) if store.plan_file.path.is_file() else {}
    for name, text in corpora.texts.items():
        if before.get(name, text) != text:
            raise StoreError(
                f"data.validation.{name} is another text ({text}) than the one that {store.directory} was measured on "
                f"({before[name]}); restore it, give it another name, or choose another directory with dir=...."
            )
    return store.plan_file.create(plan, settings.model_dump(mode="json"), corpora.stated())


def measure_sets(store: Store, plan: Plan, device: Device, say: Say) -> None:
    """Evaluate complete cells that lack a further validation set from their kept weights, or say that they have none."""
    stated, lacking = stated_corpora(store.plan_file.content()["facts"]), []
    for cell in plan.cells:
        record = store.record(cell.key) if stated[cell.corpus_hash].sets else None
        if record and record["state"] == "COMPLETE":
            lacking += [(cell, name) for name in stated[cell.corpus_hash].sets.keys() - store.further(cell.key, record).keys()]
    kept = [(cell, name) for cell, name in lacking if store.weights(cell.key).is_file()]
    names = " and ".join(sorted({name for _, name in lacking}))
    number = plural(len({cell.key for cell, _ in kept}), "cell")
    if kept and device == "cuda" and num_gpus() == 0:  # others train, on machines with GPUs
        say(f"{number} with kept weights not evaluated on validation set {names}: no GPU is here; repeat this where one is.")
    elif kept:
        from scalesweep.run.further import evaluate_kept

        say(f"Evaluating {number} on validation set {names}, from kept weights.")
        with plain_storage_errors(store.directory):
            evaluate_kept(store, kept, device, say)
    if without := {cell.key for cell, _ in lacking} - {cell.key for cell, _ in kept}:
        say(
            f"{plural(len(without), 'complete cell')} lack{'s' * (len(without) == 1)} the loss on validation set {names}, "
            "without kept weights: measure again with train.keep_weights=true in another directory (dir=...) to have it."
        )


def measure(store: Store, plan: Plan, settings: Settings, device: Device, added: int, say: Say) -> None:
    """Train the cells that have neither a record nor a place in the pool, or say that there are none."""
    with plain_storage_errors(store.directory):
        if taken := take_here(store, plan, settings, device):
            say(taken)
    unfinished = [k for k, s in store.states().items() if s not in FINISHED]
    if not unfinished:
        say(f"Nothing new to measure: all {len(plan.cells)} cells of {store.directory} have their records.")
        return
    known = len(plan.cells) - len(unfinished)
    say(
        f"Sweep {plan.name} ({plan.hash}) in {store.directory}: {len(unfinished)} cells to measure on {device}"
        + (f", {known} measured before" if known else "")
        + (f", {added} new" if 0 < added < len(plan.cells) else "")
        + "."
    )
    started = time.monotonic()
    monitor = Monitor(store, plan, ceiling=ceiling_of(settings, device, plan.cells))
    launch(store, settings, device, monitor, tail_of(store, plan, settings, device, say))
    say(f"Measured in {(time.monotonic() - started) / 60:.1f} minutes.")


def tail_of(store: Store, plan: Plan, settings: Settings, device: Device, say: Say) -> tuple[str, ...]:
    """Keys of the unfinished cells that several GPUs are to train together (`train.devices`), said to whoever asked for it."""
    rest = tuple(cell for cell in plan.cells if store.state(cell.key) not in FINISHED)
    if settings.train.devices == 1 or not rest:
        return ()
    if idle := idle_devices(settings, device):
        say(idle)
        return ()
    price = price_of(dataclasses.replace(plan, cells=rest), Prices(settings, device, say=say))
    say(price.tail)
    return price.together


def measure_edges(store: Store, plan: Plan, settings: Settings, corpora: Corpora, device: Device, say: Say) -> None:
    """Extend the tuned ranges at whose ends optima lie, and measure again, until none does or none may be extended."""
    from scalesweep.sweep.extend import extend

    while True:
        try:
            measured = read_measured(store, with_curves=False)
            keys, sentences = extend(measured, settings, corpora.facts(settings), device)
        except PointsError:  # nothing was measured
            return
        for sentence in sentences:
            say(f"{sentence}.")
        if not keys:
            return
        plan = plan_sweep(settings, corpora, device, [*store.plan_file.keys(), *keys], store.plan_file.keys())
        if not set(keys) & {c.key for c in plan.cells}:
            say("The budget has no room for these extensions: such points are left out of the fit.")
            return
        added = keep_plan(store, plan, settings, corpora)
        measure(store, plan, settings, device, added, say)


@signals_interrupt()
def measure_cell(settings: Settings, directory: Path, say: Say) -> float:
    """Measure the single cell of `settings` in `directory`; its validation loss, nan if it diverged."""
    device = device_of_sweep(settings)
    require_ready(settings.logger)
    settings = suited(settings, device, say)
    corpora = prepare_corpora(settings, say)
    planned = plan_sweep(settings, corpora, device)
    store = Store(directory)
    keep_plan(store, planned, settings, corpora)
    with plain_storage_errors(store.directory):
        if taken := take_here(store, planned, settings, device):
            say(taken)
    launch(store, settings, device, Monitor(store, planned), tail_of(store, planned, settings, device, say))
    record = store.record(planned.cells[0].key)
    if record is None:
        raise StoreError(f"the cell has no record: {store.claims.error(planned.cells[0].key).strip()}")
    say(f"Record: {store.cell_dir(planned.cells[0].key) / 'record.json'}")
    return math.nan if record["loss"] is None else float(record["loss"])


def plan_sweep(
    settings: Settings,
    corpora: Corpora,
    device: Device,
    extended: Collection[str] = (),
    present: Collection[str] = (),
    prices: Prices | None = None,
) -> Plan:
    """The plan within its budget, with those of `extended` that lie past a tuned range; the corpora can serve every cell.

    Cells of `present` stand in the directory, and stay whatever the budget.
    """
    facts = corpora.facts(settings)
    planned = make_plan(settings, facts, device, extended)
    prices = prices or Prices(settings, device)
    if limits := limits_of(planned, prices):
        left_out = shrink(planned, settings, limits, present)
        said = describe(left_out, settings, limits, planned.cells)
        planned = make_plan(settings, facts, device, extended, {c.key for c in left_out})
        said += exceeded(planned.cells, limits, settings.dir)
        if not prices.can_measure and (settings.budget.hours or settings.budget.usd):
            said.append("No GPU is here, so the budget was held by an estimate; where one is, other cells may fit.")
        planned = dataclasses.replace(planned, warnings=(*said, *planned.warnings))
    corpora.check(planned.cells)
    return planned
