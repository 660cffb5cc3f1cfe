"""Studies from beginning to end: plan, seal, measure what has no record, judge, write."""

import dataclasses
import json
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalesweep.errors import FitError, PointsError
from scalesweep.files import plain_storage_errors, plain_write_errors, write_text
from scalesweep.plan.plan import Plan
from scalesweep.report.charts.chart import Missing
from scalesweep.run.launch.signals import signals_interrupt
from scalesweep.run.store.measured import Measured, read_measured
from scalesweep.run.store.stated import stated_corpora
from scalesweep.run.store.store import Store
from scalesweep.run.tracker import require_ready
from scalesweep.settings.own import is_own
from scalesweep.studies.base import Effect, Findings
from scalesweep.studies.load import Study, planted_controls
from scalesweep.studies.measure import Asked, Form, Say, ask, measure_cells, planned_points, read_arms, store_place, unmeasured
from scalesweep.studies.result import Result, result_of
from scalesweep.studies.seal import Seal
from scalesweep.sweep.facts import cost_of_records
from scalesweep.sweep.pooling import keys_present
from scalesweep.units import plural
from scalesweep.version import __version__, commit_words


@signals_interrupt()
def run_studies(asked: Sequence[Asked], directory: Path, say: Say) -> list[Result]:
    """Seal, measure and judge studies that share a directory; cells that have a record are not trained again.

    Cells that a forecast speaks of are held back from every study until it is sealed. A forecast is made as soon as no cell
    that it is made from is held back by another one.

    Raises:
        ScaleSweepError: the directory cannot be used, or a worker cannot be started.
        KeyboardInterrupt: checkpoints are written; the same call goes on.
    """
    require_ready(asked[0].launched.logger)
    store = store_of(directory)
    with plain_storage_errors(store.directory):
        store.clear_cancel()
    for one in asked:
        cells = one.cells()
        _seal(one, directory).add_rule(one.study.rule_hash, len(_recorded(store, cells)), len(cells))
    waiting = [one for one in asked if one.study.spec.sealed and "forecast" not in _seal(one, directory).content()]
    while waiting:
        held_back = {key for one in waiting for key in one.forecast_cells()}
        arms = {one.study.name: one.open_arms if one in waiting else list(one.plans) for one in asked}
        measure_cells(asked, arms, store, say, held_back)
        # Of studies that wait for each other the first goes ahead, with what there is.
        ready = [one for one in waiting if not held_back & one.cells(one.open_arms).keys()] or waiting[:1]
        for one in ready:
            seal_forecast(one, store, directory, say)
        waiting = [one for one in waiting if one not in ready]
    measure_cells(asked, {one.study.name: list(one.plans) for one in asked}, store, say)
    asked = measure_stages(asked, store, directory, say)
    measured = read_measured(store, with_curves=False)
    return [judge_measured(one, measured, directory) for one in asked]


def measure_stages(asked: Sequence[Asked], store: Store, directory: Path, say: Say) -> Sequence[Asked]:
    """Plan the arms whose text the measured cells can write, measure them, and go on; the studies with all their arms."""
    while any(one.waiting for one in asked):
        ahead = [ask(one.study, one.form, one.words, directory, say) if one.waiting else one for one in asked]
        if all(len(new.waiting) == len(old.waiting) for new, old in zip(ahead, asked, strict=True)):
            break  # a cell that is to write has no record
        asked = ahead
        measure_cells(asked, {one.study.name: list(one.plans) for one in asked}, store, say)
    return asked


def seal_forecast(asked: Asked, store: Store, directory: Path, say: Say) -> None:
    """Forecast the sealed arms from the others, and say what of them stood already."""
    seal, study = _seal(asked, directory), asked.study
    stood = _recorded(store, asked.forecast_cells())
    try:
        arms = read_arms(_without(asked, study.spec.sealed), read_measured(store, with_curves=False))
        count = asked.launched.count
        targets = {arm: planned_points(asked.plans[arm], count) for arm in study.spec.sealed}
        forecast = study.module.forecast(arms, targets, study.rule)
    except (PointsError, FitError) as error:
        say(f"{study.name}: nothing can be forecast: {error}")
        return
    seal.add_forecast(forecast, study.rule_hash, stood)
    say(f"{study.name}: forecast of {plural(len(asked.forecast_cells()), 'cell')} sealed in {seal.path}.")


def judge_measured(asked: Asked, measured: Measured, directory: Path) -> Result:
    """The verdict on what is measured, written as verdict.json."""
    study, sealed = asked.study, _seal(asked, directory).content()
    origin = _origin(asked, measured, sealed)
    withheld = _withheld(asked, measured, sealed)
    try:
        arms = read_arms(asked, measured)
        rule = dataclasses.replace(study.rule, sealed=sealed.get("forecast", {}))
        found = study.findings(arms, rule)
        planted = planted_controls(study, arms, found, asked.form)
    except (PointsError, FitError) as error:
        found, planted = _nothing(study, str(error)), []
    place = result_dir(directory, asked.form, study.name)
    tried = _read(place / "operating.json") or {}
    rows = tried["rows"] if tried.get("rule") == study.rule_hash else ()  # of this rule, and no earlier one
    result = result_of(study.name, asked.form, study.spec, found, planted, withheld, origin, rows)
    _write(place / "verdict.json", result.to_dict())
    return result


def keep_operating(asked: Asked, rows: Sequence[Mapping[str, Any]], directory: Path) -> Path:
    """Write the rows of `simulate.operating` where the next verdict on this rule finds them; the file's place."""
    path = result_dir(directory, asked.form, asked.study.name) / "operating.json"
    _write(path, {"rule": asked.study.rule_hash, "rows": list(rows)})
    return path


def result_dir(directory: Path, form: Form, name: str) -> Path:
    """Where the results of a study are kept."""
    return directory / (name if form == "quick" else f"{name}-{form}")


def store_of(directory: Path) -> Store:
    """The sweep that holds the cells of all studies of a directory."""
    return Store(store_place(directory))


def read_verdict(directory: Path, form: Form, name: str) -> dict[str, Any] | None:
    """The last verdict in a directory; None where there is none, or one that cannot be read."""
    return _read(result_dir(directory, form, name) / "verdict.json")


def lacking_plan(asked: Sequence[Asked], store: Store) -> Plan:
    """The cells of these studies that have no record, for a price; without any cell where all stand."""
    cells = {key: cell for one in asked for key, cell in one.cells().items()}
    stand = _recorded(store, cells)
    kept = tuple(cell for key, cell in cells.items() if key not in stand)
    return Plan("studies", asked[0].launched.count, kept, ())


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with plain_write_errors(path.parent, "choose a directory you may write to with dir=...."):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(content, indent=2) + "\n")


def _recorded(store: Store, cells: Collection[str]) -> list[str]:
    """Keys of the cells that have a record."""
    present = set(keys_present(store))
    return [key for key in cells if key in present and store.record(key) is not None]


def _without(asked: Asked, arms: Collection[str]) -> Asked:
    return dataclasses.replace(asked, plans={arm: plan for arm, plan in asked.plans.items() if arm not in arms})


def _seal(asked: Asked, directory: Path) -> Seal:
    return Seal(result_dir(directory, asked.form, asked.study.name) / "sealed.json")


def _withheld(asked: Asked, measured: Measured, sealed: dict[str, Any]) -> dict[str, str]:
    """Part -> why it cannot tell, whatever its numbers: cells without a record, and forecasts of cells that stood."""
    spec, lacking = asked.study.spec, unmeasured(asked, measured)
    if lacking:
        reason = f"{len(lacking)} of {len(asked.cells())} cells have no record; the same command measures them."
        return {part.name: reason for part in spec.parts}
    if asked.waiting:
        arm, teachers = next(iter(asked.waiting.items()))
        reason = f"Arm {arm} has no text before all cells of {' and '.join(teachers)} have records; the same command goes on."
        return {part.name: reason for part in spec.parts}
    found = {}
    for arm, part in spec.sealed_parts:
        own = asked.forecast_cells([arm])
        if "forecast" not in sealed:
            found[part] = "Nothing was forecast before these cells were measured."
        elif stood := [key for key in sealed.get("stood", []) if key in own]:
            found[part] = (
                f"{len(stood)} of the {len(own)} cells that were to be forecast had been measured before the forecast was "
                "sealed; in another directory (dir=...) they come after it."
            )
    return found


def _nothing(study: Study, reason: str) -> Findings:
    """The findings of points that cannot be judged."""
    effects = {part.name: Effect.missing(reason) for part in study.spec.parts}
    return Findings(effects, f"The points cannot be judged: {reason}", Missing(study.name, study.spec.statement, reason))


def _origin(asked: Asked, measured: Measured, sealed: dict[str, Any]) -> dict[str, Any]:
    """What verdict.json says of where the points come from; times and costs are all that differs between equal cells."""
    cells = asked.cells()
    records = [measured.records[key] for key in cells if key in measured.records]
    corpora = stated_corpora(measured.content["facts"])
    settings = asked.launched
    flops = Plan("", settings.count, tuple(cells.values()), ()).shared_flops(settings.count)
    cost, rates = cost_of_records(settings, records) if records else (None, None)
    return {
        "judged": {"date": time.strftime("%Y-%m-%d", time.gmtime()), "scalesweep": f"{__version__}{commit_words()}"},
        "rule": asked.study.rule_hash,
        "overrides": [word for word in asked.words if not is_own(word)],
        "count": settings.count.model_dump(),
        "cells": {arm: [cell.key for cell in plan.cells] for arm, plan in asked.plans.items()},
        "unmeasured": unmeasured(asked, measured),
        "corpora": {hash: corpora[hash].name for hash in dict.fromkeys(cell.corpus_hash for cell in cells.values())},
        "devices": sorted({record["where"]["device"] for record in records}),
        "versions": sorted({f"scalesweep {r['where']['scalesweep']}, torch {r['where']['torch']}" for r in records}),
        "sealed": sealed,
        "cost": {
            "flops": flops,
            "seconds": sum(record["times"]["training_seconds"] for record in records),
            **({"kwh": cost.kwh, "usd": cost.usd, "rates": list(rates.sources)} if cost and rates else {}),
        },
    }
