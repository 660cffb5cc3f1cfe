"""The whole way, from settings to measured points, laws and a report."""

import dataclasses
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from scalesweep.errors import DataError, FitError, PointsError, Refused, SpecError, StoreError
from scalesweep.files import plain_storage_errors
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.plan.budget import describe, exceeded, shrink
from scalesweep.plan.grid import CorpusFacts, Device
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.plan.recipe import Scaled
from scalesweep.run.launch import launch
from scalesweep.run.launch.device import device_of_sweep
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.launch.pricing import Prices, limits_of
from scalesweep.run.launch.signals import signals_interrupt
from scalesweep.run.store.measured import Measured, read_measured
from scalesweep.run.store.store import FINISHED, Store
from scalesweep.run.tracker import require_ready
from scalesweep.settings.again import command_of
from scalesweep.settings.plan import ArchitectureSpec, CustomSpec
from scalesweep.settings.settings import Settings
from scalesweep.sweep.extend import extend, fitted_points, keys_present
from scalesweep.sweep.pooling import take_here
from scalesweep.sweep.subject import Subject, report_context, write
from scalesweep.sweep.tracking import track_sweep
from scalesweep.train.data import prepare, training_shortage, unique_tokens, validation_shortage
from scalesweep.train.data.corpus import Corpus

Say = Callable[[str], None]
"""Takes one line on what is being done."""


@dataclass(frozen=True)
class Swept:
    """A sweep that was run: what was measured and what was found."""

    measured: Measured
    fit: SweepFit | Refused
    page: Path | None
    """The report; None where there are no laws."""

    @property
    def num_lacking(self) -> int:
        """Cells without the loss that they were to have."""
        counts = self.measured.counts
        # A tuned range may well end where training diverges, but not all of it may.
        is_tuned = self.measured.settings.sweep.tune is not None and counts["COMPLETE"] > 0
        wanted = FINISHED if is_tuned else {"COMPLETE"}
        return sum(number for state, number in counts.items() if state not in wanted)


@signals_interrupt()
def run_sweep(settings: Settings, say: Say, warn: Say) -> Swept:
    """Plan, train what is not yet measured, extend tuned ranges, fit, report, and tell the tracker.

    Args:
        settings: what is asked for; the sweep in their directory is begun, or goes on.
        say: takes lines on what is being done.
        warn: takes what the user should know of the design, and trouble with the tracker.

    Raises:
        ScaleSweepError: what is asked for cannot be measured here, or the directory cannot be written.
        Cancelled: somebody cancelled the sweep.
        KeyboardInterrupt: SIGINT or SIGTERM ended it; checkpoints are written.
    """
    require_ready(settings.logger)
    device = device_of_sweep(settings)
    corpus = prepared(settings, say)
    store = Store(Path(settings.dir).expanduser())
    with plain_storage_errors(store.directory):
        store.clear_cancel()
    present = keys_present(store)
    plan = plan_sweep(settings, corpus, device, present, present)
    added = _keep_plan(store, plan, settings, corpus)
    for warning in plan.warnings:
        warn(warning)
    with plain_storage_errors(store.directory):
        store.claims.reopen_failed()
    measure(store, plan, settings, device, added, say)
    if settings.sweep.tune is not None:
        measure_edges(store, plan, settings, corpus, device, say)
    measured, page = read_measured(store), None
    found: SweepFit | Refused
    try:
        context = report_context(measured, settings, command_of(settings, []))
        points, context = fitted_points(measured.points(), context)
        if context.tuning:
            say(f"\n{context.tuning}")
        analysis, page = write(Subject(points, settings.fit, context, store.directory))
        found = analysis.fit
    except (FitError, PointsError) as error:
        found = Refused(str(error))
    track_sweep(measured, settings, found, warn)
    return Swept(measured, found, page)


def prepared(settings: Settings, say: Say) -> Corpus:
    """The corpus that is to be trained on; what its text lost on the way is said, each time."""
    corpus = prepare(settings.data, say)
    if corpus.account:
        say(f"Corpus {corpus.name}: {corpus.account}.")
    return corpus


def _keep_plan(store: Store, plan: Plan, settings: Settings, corpus: Corpus) -> int:
    """Write or extend the plan in the directory; the number of new cells."""
    return store.plan_file.create(plan, settings.model_dump(mode="json"), corpus_facts(corpus))


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
    launch(store, settings, device, Monitor(store, plan))
    say(f"Measured in {(time.monotonic() - started) / 60:.1f} minutes.")


def measure_edges(store: Store, plan: Plan, settings: Settings, corpus: Corpus, device: Device, say: Say) -> None:
    """Extend the tuned ranges at whose ends optima lie, and measure again, until none does or none may be extended."""
    while True:
        try:
            measured = read_measured(store, with_curves=False)
            keys, sentences = extend(measured, settings, facts_of_corpus(corpus, settings), device)
        except PointsError:  # nothing was measured
            return
        for sentence in sentences:
            say(f"{sentence}.")
        if not keys:
            return
        plan = plan_sweep(settings, corpus, device, [*store.plan_file.keys(), *keys], store.plan_file.keys())
        if not set(keys) & {c.key for c in plan.cells}:
            say("The budget has no room for these extensions: such points are left out of the fit.")
            return
        added = _keep_plan(store, plan, settings, corpus)
        measure(store, plan, settings, device, added, say)


@signals_interrupt()
def measure_cell(settings: Settings, directory: Path, say: Say) -> float:
    """Measure the single cell of `settings` in `directory`; its validation loss, nan if it diverged."""
    require_ready(settings.logger)
    device = device_of_sweep(settings)
    corpus = prepared(settings, say)
    planned = plan_sweep(settings, corpus, device)
    store = Store(directory)
    _keep_plan(store, planned, settings, corpus)
    if taken := take_here(store, planned, settings, device):
        say(taken)
    launch(store, settings, device, Monitor(store, planned))
    record = store.record(planned.cells[0].key)
    if record is None:
        raise StoreError(f"the cell has no record: {store.claims.error(planned.cells[0].key).strip()}")
    say(f"Record: {store.cell_dir(planned.cells[0].key) / 'record.json'}")
    return math.nan if record["loss"] is None else float(record["loss"])


def facts_of_corpus(corpus: Corpus, settings: Settings) -> CorpusFacts:
    """What a plan needs to know of the corpus.

    Raises:
        DataError: the training text is shorter than one window.
    """
    if shortage := training_shortage(corpus.train_tokens, settings.model.context, settings.data.max_bytes is not None):
        raise DataError(shortage)
    unique = unique_tokens(corpus.train_tokens, settings.model.context)
    return CorpusFacts(corpus.name, corpus.hash, corpus.vocab_size, unique, scaled(settings))


def scaled(settings: Settings) -> Scaled | None:
    """What scales and counts the architecture, where there is one; its libraries take seconds to import."""
    if isinstance(settings.model, CustomSpec):
        from scalesweep.train.model.custom import scaled_custom

        return scaled_custom
    if not isinstance(settings.model, ArchitectureSpec):
        return None
    from scalesweep.train.model.architecture import scaled_shape

    return scaled_shape


def plan_sweep(
    settings: Settings,
    corpus: Corpus,
    device: Device,
    extended: Collection[str] = (),
    present: Collection[str] = (),
    prices: Prices | None = None,
) -> Plan:
    """The plan within its budget, with those of `extended` that lie past a tuned range; the corpus can serve every cell.

    Cells of `present` stand in the directory, and stay whatever the budget.
    """
    facts = facts_of_corpus(corpus, settings)
    planned = make_plan(settings, facts, device, extended)
    if limits := limits_of(planned, prices or Prices(settings, device)):
        left_out = shrink(planned, settings, limits, present)
        said = describe(left_out, settings, limits, len(planned.cells))
        planned = make_plan(settings, facts, device, extended, {c.key for c in left_out})
        said += exceeded(planned.cells, limits, settings.dir)
        planned = dataclasses.replace(planned, warnings=(*said, *planned.warnings))
    is_capped = settings.data.max_bytes is not None
    for context, tokens in sorted({(c.shape.context, c.validation_tokens) for c in planned.cells}):
        if shortage := training_shortage(corpus.train_tokens, context, is_capped):  # of a context that is an axis
            raise DataError(shortage)
        if tokens < 2 * context:
            raise SpecError(f"train.validation_tokens = {tokens}: must be at least two windows of {context} tokens.")
        if shortage := validation_shortage(corpus.validation_tokens, tokens, context, is_capped):
            raise DataError(shortage)
    return planned


def corpus_facts(corpus: Corpus) -> dict[str, str]:
    """What the sweep's file records of its surroundings."""
    return {
        "corpus": corpus.name,
        "corpus_hash": corpus.hash,
        "corpus_directory": str(corpus.directory),
        "corpus_account": corpus.account or ("nothing left out, replaced or cut" if corpus.reading else ""),
    }
