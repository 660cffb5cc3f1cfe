"""What a report tells of an experiment beside its points: counts by every convention, facts, energy and cost."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalesweep.errors import DataError, SpecError
from scalesweep.plan.cell import Cell
from scalesweep.plan.cost import Cost, Rates, cost_of, rates_of
from scalesweep.plan.flops import ModuleShape, flops_per_token, num_params
from scalesweep.plan.grid import Device
from scalesweep.points.published.results import published_results
from scalesweep.run.store.measured import Measured, Record
from scalesweep.settings.plan import CountSpec
from scalesweep.settings.settings import Settings


def counts_of(cells: Sequence[Cell]) -> dict[tuple[str, str], dict[str, tuple[float, float]]]:
    """For the default convention and each that a published study used: key of a cell -> N and training FLOPs per token.

    A convention that is not defined for one of the models is left out.
    """
    default = CountSpec()
    found: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    for params, flops in dict.fromkeys([(default.params, default.flops), *(r.counts for r in published_results())]):
        with contextlib.suppress(SpecError):
            found[params, flops] = {
                cell.key: (float(num_params(cell.shape, params)), flops_per_token(cell.shape, flops, params)) for cell in cells
            }
    return found


def facts_of(measured: Measured, settings: Settings) -> dict[str, Any]:
    """What is known of a sweep, by the names of `report.checklist.FACTS`."""
    plan, records = measured.plan, list(measured.records.values())
    shapes = [cell.shape for cell in plan.cells]
    facts: dict[str, Any] = {
        "cells": dict(measured.counts),
        "tokenizer": settings.data.tokenizer.kind,
        "corpus": plan.cells[0].corpus,
        "corpus_hash": plan.cells[0].corpus_hash,
        "validation_tokens": _one_or_all(cell.validation_tokens for cell in plan.cells),
        "schedules": _one_or_all(cell.schedule for cell in plan.cells),
        "precisions": _one_or_all(cell.precision for cell in plan.cells),
        "warmup_fraction": _span(cell.warmup_steps / cell.steps for cell in plan.cells),
        "decay_fraction": _span(cell.decay_steps / cell.steps for cell in plan.cells),
        "flops_by": _one_or_all(s.counts.flops_by if isinstance(s, ModuleShape) else "formula" for s in shapes),
        "shared_trunks": sum(len(siblings) > 1 for siblings in plan.siblings.values()),
        **_corpus_facts(measured.content["facts"]),
    }
    return {**facts, **_record_facts(settings, records)} if records else facts


def _record_facts(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """What only records say; a fact that one of them lacks is left out."""
    cost, rates = cost_of_records(settings, records)
    hosts = [record["where"].get("host") for record in records]
    per_token = [record.get("bytes_per_token") for record in records]
    return {
        **({"bytes_per_token": _span(per_token)} if None not in per_token else {}),
        **({"hosts": len(set(hosts))} if None not in hosts else {}),
        "entropies": sorted({r["entropy"] for r in records if r.get("entropy") is not None}),
        "below_entropy": sum(bool(r.get("below_entropy")) for r in records),
        "devices": _one_or_all(record["where"]["device"] for record in records),
        "versions": _one_or_all(f"scalesweep {r['where']['scalesweep']}, torch {r['where']['torch']}" for r in records),
        "device_hours": cost.device_hours,
        "kwh": cost.kwh,
        "usd": cost.usd,
        "kg_co2": cost.kg_co2,
        "rates": rates.sources,
    }


def cost_of_records(settings: Settings, records: Sequence[Record]) -> tuple[Cost, Rates]:
    """Hours, energy, money and carbon of the training of these cells, diverged ones included, at the sweep's rates."""
    device: Device = "cpu" if all(record["where"]["device"].startswith("CPU") for record in records) else "cuda"
    rates = rates_of(settings.cost, device)
    return cost_of(sum(record["times"]["training_seconds"] for record in records), device, rates), rates


def cost_rows(settings: Settings, records: Sequence[Record]) -> dict[str, str]:
    """Rows of the provenance on hours, energy and cost; none where nothing was measured."""
    if not records:
        return {}
    cost, rates = cost_of_records(settings, records)
    return {"device-hours": f"{cost.hours} of training", "energy and cost": f"{cost.bill}, at {', '.join(rates.sources)}"}


def _corpus_facts(stated: Mapping[str, str]) -> dict[str, Any]:
    """What only the prepared corpus says; nothing where it is not on this machine any more."""
    from scalesweep.train.data.corpus import open_corpus

    with contextlib.suppress(DataError, KeyError):
        corpus = open_corpus(Path(stated["corpus_directory"]))
        if corpus.hash == stated["corpus_hash"]:
            return {
                "documents": corpus.documents,
                "duplicates_removed": corpus.duplicates_removed,
                "validation_stream_tokens": corpus.validation_tokens,
            }
    return {}


def _one_or_all(values: Iterable[Any]) -> tuple[Any, ...]:
    """The distinct values, in order."""
    return tuple(sorted(set(values)))


def _span(values: Iterable[Any]) -> tuple[float, float]:
    """Smallest and largest."""
    known = list(values)
    return min(known), max(known)
