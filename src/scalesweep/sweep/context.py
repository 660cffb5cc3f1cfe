"""What the report of a sweep says besides points and law: its cells, curves, provenance, warnings and costs."""

from typing import Any

from scalesweep.analysis.health import entropy_lines, spike_lines
from scalesweep.counting import LossMetric
from scalesweep.plan.axes import ARM, AXIS
from scalesweep.points.metric import rate_from_nats
from scalesweep.report import ReportContext
from scalesweep.report.verdicts import certificate_line, read_verdicts
from scalesweep.report.words.adaptive import rounds_rows, rounds_summary, sealed_rows
from scalesweep.run.store.measured import Measured, Record, further_losses
from scalesweep.run.store.stated import stated_corpora
from scalesweep.settings.settings import Settings
from scalesweep.sweep.facts import cost_rows, counts_of, facts_of
from scalesweep.sweep.pooling import pool_rows
from scalesweep.sweep.rounds import measured_losses, read_rounds
from scalesweep.sweep.sets import validation_rows
from scalesweep.version import __version__, commit_words


def report_context(measured: Measured, settings: Settings, command: str) -> ReportContext:
    """What the report of a sweep says besides points and law; `command` makes it again."""
    sweep, plan, records = measured.content, measured.plan, list(measured.records.values())
    where = ("scalesweep", "python", "torch", "device")
    made = {name: ", ".join(sorted({r["where"][name] for r in records})) for name in where}
    corpora = stated_corpora(sweep["facts"])
    verdicts = read_verdicts(measured.directory)
    several = len(corpora) > 1
    accounts = [f"{one.name}: {one.account}" if several else one.account for one in corpora.values() if one.account]
    log = read_rounds(measured.directory)
    if log is not None and not (log.rounds or log.end):  # there is nothing to tell yet
        log = None
    losses = measured_losses(measured.points()) if log and records else {}  # counted as when they were predicted
    return ReportContext(
        title=settings.report.title or sweep["name"],
        curves={key: [(p["tokens"], p["loss"]) for p in curve] for key, curve in measured.curves.items()},
        cells=[
            {
                **cell.row(settings.count),
                **{n: v for n, v in plan.columns.get(cell.key, {}).items() if n == ARM or n.startswith(AXIS)},
                "state": measured.states[cell.key],
                **_outcome(measured.records.get(cell.key), settings.count.loss),
            }
            for cell in plan.cells
        ],
        provenance={
            "sweep": f"{sweep['name']} ({sweep['hash']})",
            "corpus": ", ".join(f"{stated.name} ({hash})" for hash, stated in corpora.items()),
            **({"text": "; ".join(accounts)} if accounts else {}),  # older sweeps lack it
            "measured with scalesweep": made["scalesweep"],
            "Python": made["python"],
            "PyTorch": made["torch"],
            "devices": made["device"],
            **cost_rows(settings, records),
            **pool_rows(measured.records),
            "reported with scalesweep": f"{__version__}{commit_words()}",
            "calibration": certificate_line(verdicts),
        },
        warnings=[
            *sweep["warnings"],
            *entropy_lines(records),
            *spike_lines({key: curve for key, curve in measured.curves.items() if measured.states[key] == "COMPLETE"}),
        ],
        command=command,
        counts=counts_of(plan.cells),
        rounds=rounds_summary(log) if log else (),
        rounds_table=rounds_rows(log) if log else (),
        sealed_table=sealed_rows(log, losses) if log else (),
        facts=facts_of(measured, settings),
        sets=validation_rows(measured, settings.count.loss),
        verdicts=verdicts,
    )


def _outcome(record: Record | None, metric: LossMetric | None) -> dict[str, Any]:
    if record is None:
        return {"loss": None, "loss_se": None, "seconds": None}
    rate = rate_from_nats(metric or "nats_per_token", record.get("bytes_per_token"))
    losses = {name: None if record[name] is None else rate * record[name] for name in ("loss", "loss_se")}
    further = further_losses(record, metric or "nats_per_token")
    return {**losses, **further, "seconds": record["times"]["training_seconds"]}
