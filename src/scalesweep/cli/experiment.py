"""The commands that plan and measure: run, plan, data."""

import dataclasses
import math
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from scalesweep.budget import describe, exceeded, shrink
from scalesweep.cli.again import commands_of
from scalesweep.cli.analysis import context_of_store, print_law, write
from scalesweep.cli.compose import compose_settings
from scalesweep.cli.pricing import Prices, limits_of, price_of
from scalesweep.cli.tables import print_plan, wrapped
from scalesweep.cli.tracking import track_sweep
from scalesweep.cli.tuning import extend, fitted_points, keys_present
from scalesweep.config import ArchitectureSpec, Settings
from scalesweep.data import Corpus, prepare, unique_tokens, validation_shortage
from scalesweep.errors import EXIT_INCOMPLETE, EXIT_OK, DataError, FitError, PointsError, SpecError, StoreError
from scalesweep.files import plain_storage_errors
from scalesweep.fit import SweepFit
from scalesweep.grid import CorpusFacts, Device
from scalesweep.launch import launch
from scalesweep.launch.device import device_of_sweep
from scalesweep.launch.monitor import Monitor, failure_line
from scalesweep.launch.signals import signals_interrupt
from scalesweep.plan import Plan, make_plan
from scalesweep.recipe import Scaled
from scalesweep.store import FINISHED, Store
from scalesweep.tracker import require_installed


@signals_interrupt()
def run(overrides: Sequence[str]) -> int:
    """Plan, train what is not yet measured, fit, report."""
    settings = compose_settings(overrides)
    require_installed(settings.logger)
    device = device_of_sweep(settings)
    corpus = prepare(settings.data, _say)
    store = Store(Path(settings.dir).expanduser())
    with plain_storage_errors(store.directory):
        store.clear_cancel()
    present = keys_present(store)
    plan = _plan(settings, corpus, device, present, present)
    added = store.create(plan, settings.model_dump(mode="json"), corpus_facts(corpus))
    _warn(plan)
    with plain_storage_errors(store.directory):
        store.reopen_failed()
    measure(store, plan, settings, device, added)
    if settings.sweep.tune is not None:
        plan = _measure_edges(store, plan, settings, corpus, device)
    each = store.states()
    states = Counter(each.values())
    try:
        context = context_of_store(store, settings, commands_of(store.settings(), []))
        points, context = fitted_points(store.points(), context)
        if context.tuning:
            _say(f"\n{context.tuning}")
        written = write(store.directory, points, settings.fit, context)
        print_law(written)
        found: SweepFit | str = written[0]
    except (FitError, PointsError) as error:
        _say(f"No law: {error}")
        found = str(error)
    track_sweep(store, settings, states, found)
    # A tuned range may well end where training diverges, but not all of it may.
    wanted = ("COMPLETE",) if settings.sweep.tune is None or not states["COMPLETE"] else FINISHED
    if unfinished := sum(n for s, n in states.items() if s not in wanted):
        lacking = f"{unfinished} of {len(plan.cells)} cells {'has' if unfinished == 1 else 'have'} no loss"
        _say(f"{lacking}: {_count(states)}. See: scalesweep status {store.directory}")
        for key in (k for k, s in each.items() if s == "FAILED"):
            _say(failure_line(store, key))
        return EXIT_INCOMPLETE
    return EXIT_OK


def measure(store: Store, plan: Plan, settings: Settings, device: Device, added: int) -> None:
    """Train the cells that have no record, or say that there are none."""
    unfinished = [k for k, s in store.states().items() if s not in FINISHED]
    if not unfinished:
        _say(f"Nothing new to measure: all {len(plan.cells)} cells of {store.directory} have their records.")
        return
    known = len(plan.cells) - len(unfinished)
    _say(
        f"Sweep {plan.name} ({plan.hash}) in {store.directory}: {len(unfinished)} cells to measure on {device}"
        + (f", {known} measured before" if known else "")
        + (f", {added} new" if 0 < added < len(plan.cells) else "")
        + "."
    )
    started = time.monotonic()
    launch(store, settings, device, Monitor(store, plan))
    _say(f"Measured in {(time.monotonic() - started) / 60:.1f} minutes.")


def _measure_edges(store: Store, plan: Plan, settings: Settings, corpus: Corpus, device: Device) -> Plan:
    """Extend the tuned ranges at whose ends optima lie, and measure again, until none does or none may be extended."""
    while True:
        try:
            keys, sentences = extend(store, settings, _facts(corpus, settings), device)
        except PointsError:  # nothing was measured
            return plan
        for sentence in sentences:
            _say(f"{sentence}.")
        if not keys:
            return plan
        plan = _plan(settings, corpus, device, [*store.keys(), *keys], store.keys())
        if not set(keys) & {c.key for c in plan.cells}:
            _say("The budget has no room for these extensions: such points are left out of the fit.")
            return plan
        measure(store, plan, settings, device, store.create(plan, settings.model_dump(mode="json"), corpus_facts(corpus)))


@signals_interrupt()
def measure_cell(settings: Settings, directory: Path) -> float:
    """Measure the single cell of `settings` in `directory`; its validation loss, nan if it diverged."""
    require_installed(settings.logger)
    device = device_of_sweep(settings)
    corpus = prepare(settings.data, _say)
    planned = _plan(settings, corpus, device)
    store = Store(directory)
    store.create(planned, settings.model_dump(mode="json"), corpus_facts(corpus))
    launch(store, settings, device, Monitor(store, planned))
    record = store.record(planned.cells[0].key)
    if record is None:
        raise StoreError(f"the cell has no record: {store.error(planned.cells[0].key).strip()}")
    _say(f"Record: {store.cell_dir(planned.cells[0].key) / 'record.json'}")
    return math.nan if record["loss"] is None else float(record["loss"])


def plan(overrides: Sequence[str]) -> int:
    """Print the priced table of cells."""
    settings = compose_settings(overrides)
    device = device_of_sweep(settings)
    corpus = prepare(settings.data, _say)
    present = keys_present(Store(Path(settings.dir).expanduser()))
    prices = Prices(settings, device)
    planned = _plan(settings, corpus, device, present, present, prices)
    print_plan(planned, settings, price_of(planned, prices))
    _say(wrapped(prices.describe()))
    _warn(planned)
    return EXIT_OK


def data(overrides: Sequence[str]) -> int:
    """Prepare a corpus and say what it holds."""
    settings = compose_settings(overrides)
    corpus = prepare(settings.data, _say)
    _say(
        f"{corpus.name} ({corpus.hash}): {corpus.train_tokens:,} training and {corpus.validation_tokens:,} validation tokens, "
        f"vocabulary {corpus.vocab_size:,}, {corpus.bytes_per_token:.2f} bytes per token, in {corpus.directory}"
    )
    if corpus.entropy is not None:
        _say(f"Entropy {corpus.entropy:.5f} nats per token; a window costs {corpus.window_excess:.5f} nats more.")
    wanted, is_capped = settings.train.validation_tokens, settings.data.max_bytes is not None
    if shortage := validation_shortage(corpus.validation_tokens, wanted, settings.model.context, is_capped):
        sys.stderr.write(f"warning: {shortage}\n")
    return EXIT_OK


def _facts(corpus: Corpus, settings: Settings) -> CorpusFacts:
    unique = unique_tokens(corpus.train_tokens, settings.model.context)
    return CorpusFacts(corpus.name, corpus.hash, corpus.vocab_size, unique, scaled(settings))


def scaled(settings: Settings) -> Scaled | None:
    """What scales and counts the architecture, where there is one; its libraries take seconds to import."""
    if not isinstance(settings.model, ArchitectureSpec):
        return None
    from scalesweep.model.architecture import scaled_shape

    return scaled_shape


def _plan(
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
    facts = _facts(corpus, settings)
    planned = make_plan(settings, facts, device, extended)
    if limits := limits_of(planned, prices or Prices(settings, device)):
        left_out = shrink(planned, settings, limits, present)
        said = describe(left_out, settings, limits, len(planned.cells))
        planned = make_plan(settings, facts, device, extended, {c.key for c in left_out})
        said += exceeded(planned.cells, limits, settings.dir)
        planned = dataclasses.replace(planned, warnings=(*said, *planned.warnings))
    for context, tokens in sorted({(c.shape.context, c.validation_tokens) for c in planned.cells}):
        if tokens < 2 * context:
            raise SpecError(f"train.validation_tokens = {tokens}: must be at least two windows of {context} tokens.")
        if shortage := validation_shortage(corpus.validation_tokens, tokens, context, settings.data.max_bytes is not None):
            raise DataError(shortage)
        if unique_tokens(corpus.train_tokens, context) == 0:
            raise SpecError(
                f"model.context = {context}: must be below the {corpus.train_tokens:,} training tokens of the corpus."
            )
    return planned


def corpus_facts(corpus: Corpus) -> dict[str, str]:
    """What the sweep's file records of its surroundings."""
    return {
        "corpus": corpus.name,
        "corpus_hash": corpus.hash,
        "corpus_directory": str(corpus.directory),
    }


def _warn(plan: Plan) -> None:
    for warning in plan.warnings:
        sys.stderr.write(f"{wrapped(f'warning: {warning}')}\n")


def _count(states: Counter[Any]) -> str:
    return ", ".join(f"{number} {state.lower()}" for state, number in sorted(states.items()))


def _say(message: str) -> None:
    print(message, flush=True)
