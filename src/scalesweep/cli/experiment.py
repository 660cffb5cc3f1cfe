"""The commands that plan and measure: run, plan, data."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scalesweep.cli.analysis import print_law
from scalesweep.cli.tables import print_plan, wrapped
from scalesweep.errors import EXIT_INCOMPLETE, EXIT_OK, FitError, PointsError
from scalesweep.files import plain_storage_errors
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.plan.plan import Plan
from scalesweep.run.launch.device import device_of_sweep
from scalesweep.run.launch.monitor import failure_line
from scalesweep.run.launch.pricing import Prices, price_of
from scalesweep.run.launch.signals import signals_interrupt
from scalesweep.run.store.measured import read_measured
from scalesweep.run.store.store import FINISHED, Store
from scalesweep.run.tracker import require_installed
from scalesweep.settings.again import commands_of
from scalesweep.settings.compose import compose_settings
from scalesweep.sweep.extend import fitted_points, keys_present
from scalesweep.sweep.run import corpus_facts, measure, measure_edges, plan_sweep
from scalesweep.sweep.subject import report_context, write
from scalesweep.sweep.tracking import track_sweep
from scalesweep.train.data import prepare, validation_shortage


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
    plan = plan_sweep(settings, corpus, device, present, present)
    added = store.plan_file.create(plan, settings.model_dump(mode="json"), corpus_facts(corpus))
    _warn(plan)
    with plain_storage_errors(store.directory):
        store.claims.reopen_failed()
    measure(store, plan, settings, device, added, _say)
    if settings.sweep.tune is not None:
        plan = measure_edges(store, plan, settings, corpus, device, _say)
    measured = read_measured(store)
    states = measured.counts
    try:
        context = report_context(measured, settings, commands_of(measured.settings, []))
        points, context = fitted_points(measured.points(), context)
        if context.tuning:
            _say(f"\n{context.tuning}")
        written = write(store.directory, points, settings.fit, context)
        print_law(written)
        found: SweepFit | str = written[0]
    except (FitError, PointsError) as error:
        _say(f"No law: {error}")
        found = str(error)
    track_sweep(measured, settings, found, _warning)
    # A tuned range may well end where training diverges, but not all of it may.
    wanted = ("COMPLETE",) if settings.sweep.tune is None or not states["COMPLETE"] else FINISHED
    if unfinished := sum(n for s, n in states.items() if s not in wanted):
        lacking = f"{unfinished} of {len(plan.cells)} cells {'has' if unfinished == 1 else 'have'} no loss"
        _say(f"{lacking}: {_count(states)}. See: scalesweep status {store.directory}")
        for key in (k for k, s in measured.states.items() if s == "FAILED"):
            _say(failure_line(store, key))
        return EXIT_INCOMPLETE
    return EXIT_OK


def plan(overrides: Sequence[str]) -> int:
    """Print the priced table of cells."""
    settings = compose_settings(overrides)
    device = device_of_sweep(settings)
    corpus = prepare(settings.data, _say)
    present = keys_present(Store(Path(settings.dir).expanduser()))
    prices = Prices(settings, device)
    planned = plan_sweep(settings, corpus, device, present, present, prices)
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


def _warn(plan: Plan) -> None:
    for warning in plan.warnings:
        sys.stderr.write(f"{wrapped(f'warning: {warning}')}\n")


def _warning(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)


def _count(states: Counter[Any]) -> str:
    return ", ".join(f"{number} {state.lower()}" for state, number in sorted(states.items()))


def _say(message: str) -> None:
    print(message, flush=True)
