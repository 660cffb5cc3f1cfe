"""What a report tells of an experiment beside its points: counts by every convention, facts, energy and cost."""

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.plan.axes import data_specs
from scalesweep.plan.cell import Cell
from scalesweep.plan.cost import Cost, Rates, cost_of, rates_of
from scalesweep.plan.flops import ModuleShape, flops_per_token, num_params
from scalesweep.plan.grid import Device
from scalesweep.points.published.results import published_results
from scalesweep.report.context import Bill, Facts
from scalesweep.run.store.measured import Measured, Record
from scalesweep.run.store.pool import is_pooled
from scalesweep.settings.plan import CountSpec
from scalesweep.settings.settings import Settings
from scalesweep.sweep.corpora import known_corpora


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


def facts_of(measured: Measured, settings: Settings) -> Facts:
    """What is known of a sweep beside its points; what only records say is unknown where there is none, or one lacks it."""
    cells, corpora = measured.plan.cells, known_corpora(measured.content["facts"])
    planned = {cell.corpus_hash: cell.corpus for cell in cells}
    are_known = len(corpora) == len(planned)
    facts = Facts(
        states={str(state): number for state, number in measured.counts.items()},
        tokenizer=" and ".join(
            dict.fromkeys("its cell's" if s.source == "generated" else s.tokenizer.kind for s in data_specs(settings))
        ),
        corpus=" and ".join(planned.values()),
        corpus_hash=" and ".join(planned),
        documents=sum(corpus.documents for corpus in corpora) if are_known else None,
        duplicates_removed=sum(corpus.duplicates_removed for corpus in corpora) if are_known else None,
        validation_tokens=_distinct(cell.validation_tokens for cell in cells),
        schedules=_distinct(cell.schedule for cell in cells),
        precisions=_distinct(cell.precision for cell in cells),
        warmup_fraction=_span(cell.warmup_steps / cell.steps for cell in cells),
        decay_fraction=_span(cell.decay_steps / cell.steps for cell in cells),
        flops_by=_distinct(c.shape.counts.flops_by if isinstance(c.shape, ModuleShape) else "formula" for c in cells),
        shared_trunks=sum(len(siblings) > 1 for siblings in measured.plan.siblings.values()),
    )
    facts = dataclasses.replace(facts, model=getattr(settings.model, "architecture", "decoder"))
    records = list(measured.records.values())
    if not records:
        return facts
    cost, rates = cost_of_records(settings, records)
    per_token = [record.get("bytes_per_token") for record in records]
    return dataclasses.replace(
        facts,
        bytes_per_token=None if None in per_token else _span(per_token),
        entropies=_distinct(r["entropy"] for r in records if r.get("entropy") is not None),
        below_entropy=sum(bool(r.get("below_entropy")) for r in records),
        dates=_days(record["times"]["ended"] for record in records if "ended" in record["times"]),
        devices=_distinct(_device(record["where"]) for record in records),
        versions=_distinct(f"scalesweep {r['where']['scalesweep']}, torch {r['where']['torch']}" for r in records),
        bill=Bill(cost.device_hours, cost.kwh, cost.usd, cost.kg_co2, tuple(rates.sources)),
    )


def cost_of_records(settings: Settings, records: Sequence[Record]) -> tuple[Cost, Rates]:
    """Hours, energy, money and carbon of what was trained for these cells, diverged ones included, at the sweep's rates.

    What a pool has served was paid for by another sweep.
    """
    device: Device = "cpu" if all(record["where"]["device"].startswith("CPU") for record in records) else "cuda"
    rates = rates_of(settings.cost, device)
    return cost_of(sum(r["times"]["training_seconds"] for r in records if not is_pooled(r)), device, rates), rates


def cost_rows(settings: Settings, records: Sequence[Record]) -> dict[str, str]:
    """Rows of the provenance on hours, energy and cost; none where nothing was measured."""
    if not records:
        return {}
    cost, rates = cost_of_records(settings, records)
    return {"device-hours": f"{cost.hours} of training", "energy and cost": f"{cost.bill}, at {', '.join(rates.sources)}"}


def _device(where: Mapping[str, Any]) -> str:
    """The GPU's model or, where the record has it, the processor's."""
    return f"CPU ({where['processor']})" if where.get("processor") else str(where["device"])


def _days(times: Iterable[float]) -> tuple[str, ...]:
    """The first and the last day of these times, which may be one."""
    every = list(times)
    return _distinct(time.strftime("%Y-%m-%d", time.gmtime(end)) for end in (_span(every) if every else ()))


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    """The distinct values, in order."""
    return tuple(sorted(set(values)))


def _span(values: Iterable[Any]) -> tuple[float, float]:
    """Smallest and largest."""
    known = list(values)
    return min(known), max(known)
