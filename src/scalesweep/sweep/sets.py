"""The validation sets of a sweep as rows of a small table: what they hold, and the lowest loss of each arm on each."""

from collections.abc import Iterator, Mapping
from typing import Any

from scalesweep.counting import LossMetric
from scalesweep.plan.axes import ARM
from scalesweep.points.metric import METRICS, rate_from_nats
from scalesweep.report.tables import Cell
from scalesweep.run.store.measured import Measured
from scalesweep.run.store.stated import stated_corpora


def validation_rows(measured: Measured, metric: LossMetric | None) -> list[dict[str, Any]]:
    """A row for each set and arm; none where no cell was evaluated on more than one set."""
    if not any("validation" in record for record in measured.records.values()):
        return []
    metric = metric or "nats_per_token"
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for key, record in measured.records.items():
        arm = measured.plan.columns.get(key, {}).get(ARM, "")
        for name, loss in _losses(measured, record):
            found.setdefault((name, arm), {})[key] = loss
    names = list(dict.fromkeys(name for name, _ in found))
    by_set = sorted(found.items(), key=lambda item: names.index(item[0][0]))
    return [_row(name, arm, losses, metric) for (name, arm), losses in by_set]


def _losses(measured: Measured, record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The losses of a cell by set; that of the first set, on which laws are fitted, is called L."""
    stated = stated_corpora(measured.content["facts"])[record["cell"]["corpus_hash"]]
    own = {"text": stated.validation_set, "tokens": record["cell"]["validation_tokens"]}
    yield "L", {name: record.get(name) for name in ("loss", "loss_se", "bytes_per_token")} | own
    yield from record.get("validation", {}).items()


def _row(name: str, arm: str, losses: Mapping[str, Mapping[str, Any]], metric: LossMetric) -> dict[str, Any]:
    known = {key: loss for key, loss in losses.items() if loss["loss"] is not None}
    first = next(iter(losses.values()))
    best = min(known, key=lambda key: known[key]["loss"], default="")
    row = {"set": name, **({"arm": arm} if arm else {}), "text": first["text"], "tokens": first["tokens"], "cells": len(known)}
    row |= {"bytes per token": Cell(first["bytes_per_token"], f"{first['bytes_per_token']:.3f}")}
    if best:
        rate = rate_from_nats(metric, first["bytes_per_token"])
        loss, error = (rate * known[best][what] for what in ("loss", "loss_se"))
        row |= {f"lowest, {METRICS[metric].short}": Cell(loss, f"{loss:.4f} ± {error:.4f}"), "of cell": best}
    return row
