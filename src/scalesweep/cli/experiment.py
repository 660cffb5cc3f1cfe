"""The commands that plan and measure: run, plan, data."""

import sys
from collections.abc import Sequence
from pathlib import Path

from scalesweep.cli.analysis import print_law
from scalesweep.cli.tables import print_plan, wrapped
from scalesweep.errors import EXIT_INCOMPLETE, EXIT_OK, Refused
from scalesweep.run.launch.device import device_of_sweep
from scalesweep.run.launch.monitor import failure_line
from scalesweep.run.launch.pricing import Prices, price_of
from scalesweep.run.store.store import Store
from scalesweep.settings.compose import compose_settings
from scalesweep.sweep.extend import keys_present
from scalesweep.sweep.run import plan_sweep, run_sweep
from scalesweep.train.data import prepare, validation_shortage


def run(overrides: Sequence[str]) -> int:
    """Plan, train what is not yet measured, fit, report."""
    done = run_sweep(compose_settings(overrides), _say, _warn)
    measured = done.measured
    if isinstance(done.fit, Refused) or done.page is None:
        _say(f"No law: {done.fit}")
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
    for warning in planned.warnings:
        _warn(warning)
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
        _warn(shortage)
    return EXIT_OK


def _warn(line: str) -> None:
    print(wrapped(f"warning: {line}"), file=sys.stderr, flush=True)


def _say(message: str) -> None:
    print(message, flush=True)
