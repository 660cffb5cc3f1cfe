"""What a sweep's directory says at one moment, read once: the value that reports, progress and trackers are made from."""

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalesweep.counting import LossMetric
from scalesweep.plan.plan import Plan
from scalesweep.points.metric import METRICS, rate_from_nats
from scalesweep.points.points import Points, points_from_rows
from scalesweep.run.store.claims import State
from scalesweep.run.store.contents import CurveEnd, plan_of, read_cell
from scalesweep.run.store.stated import validation_sets
from scalesweep.run.store.store import FINISHED, Store, finished_state
from scalesweep.settings.plan import CountSpec
from scalesweep.settings.settings import Settings, parse_settings

Record = Mapping[str, Any]
"""Content of a record.json (`record.make_record`)."""


@dataclass(frozen=True)
class Measured:
    """What was planned, and what is known of every cell; all mappings are by key, in declared order."""

    directory: Path
    content: Mapping[str, Any]
    """Of sweep.json."""
    records: Mapping[str, Record]
    """Of the finished cells."""
    states: Mapping[str, State]
    curves: Mapping[str, Sequence[Mapping[str, float]]]
    """Of the finished cells; empty where they were not asked for."""
    ends: Mapping[str, CurveEnd]
    """Last points of the curves of cells that are begun and not finished."""

    @functools.cached_property
    def plan(self) -> Plan:
        """The cells.

        Raises:
            StoreError: they are those of another version.
        """
        return plan_of(self.content, self.directory / "sweep.json")

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings that were asked for."""
        return parse_settings(self.content["settings"])

    @functools.cached_property
    def counts(self) -> Counter[State]:
        """Cells in each state."""
        return Counter(self.states.values())

    def points(self, count: CountSpec | None = None) -> Points:
        """The table of measured points, by the sweep's conventions or by others; a diverged cell is a row with a reason.

        Raises:
            PointsError: nothing is measured.
            SpecError: `count.loss` is a metric that cannot be computed from the records.
        """
        count = count or CountSpec(**self.content["count"])
        metric = METRICS[count.loss or "nats_per_token"]
        rows, columns = [], self.content.get("columns", {})
        planned = {stated["key"]: (stated, cell) for stated, cell in zip(self.content["cells"], self.plan.cells, strict=True)}
        sets = validation_sets(self.content["facts"])
        for key, record in self.records.items():
            stated, cell = planned[key]
            if stated != {"key": key, **record["cell"]}:  # of an older version, which knew fewer fields
                cell = read_cell(record["cell"], self.directory / "cells" / key / "record.json")
            reason = (
                "" if record["state"] == "COMPLETE" else f"diverged: last finite training loss {record['last_finite_loss']}"
            )
            rate = rate_from_nats(metric.name, record.get("bytes_per_token"))
            measured = {name: math.nan if record[name] is None else rate * record[name] for name in ("loss", "loss_se")}
            text = {"validation_set": sets[cell.corpus_hash]} if len(sets) > 1 else {}
            size = {"bytes_per_token": record["bytes_per_token"]} if "bytes_per_token" in record else {}
            place, beside = columns.get(cell.key, {}), further_losses(record, metric.name)
            rows.append({**cell.row(count), **place, **size, **text, **measured, **beside, "excluded_reason": reason})
        return replace(points_from_rows(rows, count.params, count.flops, str(self.directory)), metric=metric)


def further_losses(record: Record, metric: LossMetric) -> dict[str, float | None]:
    """Columns `loss.NAME` and `loss_se.NAME` of the further validation sets, in the unit of the metric."""
    found: dict[str, float | None] = {}
    for name, loss in record.get("validation", {}).items():
        rate = rate_from_nats(metric, loss["bytes_per_token"])
        found |= {f"{what}.{name}": None if loss[what] is None else rate * loss[what] for what in ("loss", "loss_se")}
    return found


def read_measured(store: Store, with_curves: bool = True) -> Measured:
    """Read a sweep's directory, which for the curves of many cells takes a while.

    Raises:
        StoreError: the directory holds no sweep.
    """
    content = store.plan_file.content()
    records: dict[str, Record] = {}
    states: dict[str, State] = {}
    for key in (cell["key"] for cell in content["cells"]):
        record = store.record(key)
        if record is None and (state := store.state(key)) in FINISHED:  # it was finished between the two looks
            record = store.record(key)
        if record is not None:
            further = store.further(key, record)
            records[key] = {**record, "validation": further} if further else record
        states[key] = state if record is None else finished_state(record)
    return Measured(
        directory=store.directory,
        content=content,
        records=records,
        states=states,
        curves={key: store.curve(key) for key in records} if with_curves else {},
        ends={key: end for key in states if key not in records and (end := store.curve_end(key))},
    )


def read_sweep(directory: Path | str, count: CountSpec | None = None) -> Points:
    """The measured points of a sweep's directory, for a fit from Python.

    Args:
        directory: of the sweep, such as runs/demo; one that still runs gives what is measured so far.
        count: what N and C count; by default what the sweep was planned with.

    Raises:
        StoreError: the directory holds no sweep.
        PointsError: nothing is measured yet.
    """
    return read_measured(Store(Path(directory)), with_curves=False).points(count)
