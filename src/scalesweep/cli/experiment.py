"""The commands that plan and measure: run, plan, status, data."""

import math
import platform
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scalesweep import __version__
from scalesweep.cli.analysis import context_of_store, print_law, write
from scalesweep.cli.compose import compose_settings
from scalesweep.cli.tables import plan_table, print_table, state_table
from scalesweep.config import Settings
from scalesweep.data import Corpus, prepare, unique_tokens, validation_windows
from scalesweep.errors import EXIT_INCOMPLETE, EXIT_OK, FitError, PointsError, SpecError, StoreError
from scalesweep.launch import launch
from scalesweep.launch.device import resolve_device, resolve_precision
from scalesweep.launch.monitor import Monitor
from scalesweep.plan import CorpusFacts, Plan, make_plan
from scalesweep.store import FINISHED, Store


def run(overrides: Sequence[str]) -> int:
    """Plan, train what is not yet measured, fit, report."""
    settings = compose_settings(overrides)
    device = resolve_device(settings.train)
    corpus = prepare(settings.data, _say)
    plan = _plan(settings, corpus, device)
    store = Store(Path(settings.dir))
    added = store.create(plan, settings.model_dump(mode="json"), corpus_facts(corpus))
    _warn(plan)
    store.reopen_failed()
    measure(store, plan, settings, device, added)
    states = Counter(store.states().values())
    try:
        print_law(
            write(
                store.directory,
                store.points(),
                settings.fit,
                context_of_store(store, settings, f"scalesweep report {shlex.quote(str(store.directory))}"),
            )
        )
    except (FitError, PointsError) as error:
        _say(f"No law: {error}")
    if unfinished := sum(n for s, n in states.items() if s != "COMPLETE"):
        _say(
            f"{unfinished} of {len(plan.cells)} cells have no loss: {_count(states)}. See: scalesweep status {store.directory}"
        )
        return EXIT_INCOMPLETE
    return EXIT_OK


def measure(store: Store, plan: Plan, settings: Settings, device: str, added: int) -> None:
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


def measure_cell(settings: Settings, directory: Path) -> float:
    """Measure the single cell of `settings` in `directory`; its validation loss, nan if it diverged."""
    device = resolve_device(settings.train)
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
    from scalesweep.worker import prepare_device, seconds_per_step

    settings = compose_settings(overrides)
    device = resolve_device(settings.train)
    corpus = prepare(settings.data, _say)
    planned = _plan(settings, corpus, device)
    torch_device = prepare_device(device)
    per_step: dict[Any, float] = {}
    for cell in planned.cells:
        size = (cell.shape, cell.batch_sequences)
        if size not in per_step:
            per_step[size] = seconds_per_step(cell, torch_device)
    print_table(plan_table(planned, settings, per_step, device))
    _warn(planned)
    return EXIT_OK


def status(arguments: Sequence[str]) -> int:
    """Print the states of a sweep's cells."""
    if len(arguments) != 1 or "=" in arguments[0]:
        raise SpecError("status takes one directory, such as: scalesweep status runs/demo.")
    store = Store(Path(arguments[0]))
    states = store.states()
    print_table(state_table(store, states))
    for key, state in states.items():
        if state == "FAILED":
            _say(f"{key} FAILED: {store.error(key).strip().splitlines()[-1]}")
    _say(_count(Counter(states.values())))
    return EXIT_OK if all(s in ("COMPLETE", "WAITING", "RUNNING") for s in states.values()) else EXIT_INCOMPLETE


def data(overrides: Sequence[str]) -> int:
    """Prepare a corpus and say what it holds."""
    corpus = prepare(compose_settings(overrides).data, _say)
    _say(
        f"{corpus.name} ({corpus.hash}): {corpus.train_tokens:,} training and {corpus.validation_tokens:,} validation tokens, "
        f"vocabulary {corpus.vocab_size:,}, {corpus.bytes_per_token:.2f} bytes per token, in {corpus.directory}"
    )
    return EXIT_OK


def _plan(settings: Settings, corpus: Corpus, device: Any) -> Plan:
    validation_windows(
        corpus.validation(), settings.train.validation_tokens, settings.model.context
    )  # refuses too small a split
    unique = unique_tokens(corpus.train_tokens, settings.model.context)
    facts = CorpusFacts(corpus.name, corpus.hash, corpus.vocab_size, unique)
    return make_plan(settings, facts, resolve_precision(settings.train, device))


def corpus_facts(corpus: Corpus) -> dict[str, str]:
    """What the sweep's file records of its surroundings."""
    return {
        "corpus": corpus.name,
        "corpus_hash": corpus.hash,
        "corpus_directory": str(corpus.directory),
        "scalesweep": f"{__version__}{_commit()}",
        "python": platform.python_version(),
    }


def _commit() -> str:
    """The commit of the checkout that runs, if it is one."""
    package = Path(__file__).resolve().parent
    try:
        words = ["git", "-C", str(package), "describe", "--always", "--dirty", "--exclude=*"]
        found = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" (commit {found})" if "site-packages" not in package.parts else ""


def _warn(plan: Plan) -> None:
    for warning in plan.warnings:
        sys.stderr.write(f"warning: {warning}\n")


def _count(states: Counter[Any]) -> str:
    return ", ".join(f"{number} {state.lower()}" for state, number in sorted(states.items()))


def _say(message: str) -> None:
    print(message, flush=True)
