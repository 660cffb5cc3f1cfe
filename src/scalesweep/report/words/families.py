"""Families side by side, and the final losses of runs that are still training, as tables and text."""

import math
from collections.abc import Mapping

from scalesweep.analysis.families import Families, Multiplier
from scalesweep.analysis.forecast.running import RunForecast
from scalesweep.errors import Refused
from scalesweep.fit.results import Status
from scalesweep.report.tables import Entry, Table, cell, interval_parts, percent, write_plain
from scalesweep.report.words.fit import wrap
from scalesweep.report.words.per_byte import bits_per_byte
from scalesweep.units import format_count, format_number

_SHORT = {
    Status.IDENTIFIED: "identified",
    Status.WEAK: "weakly identified",
    Status.AT_BOUND: "at a bound",
    Status.UNKNOWN: "no intervals",
    Status.REJECTED: "rejected",
}
_SHOWN = ("E", "alpha", "beta")


def families_text(found: Families) -> str:
    """Each family's law side by side, the multipliers, and why what is missing is missing."""
    return "\n".join([write_plain(families_table(found)), *(wrap(line, "  ") for line in families_sentences(found))])


def families_table(found: Families) -> Table:
    """A row a family: its rows, the preferred joint law's estimates, and its compute multiplier against the first family."""
    rows: list[tuple[Entry, ...]] = []
    is_known = any(bits_per_byte(family.points) for family in found.families)
    for family in found.families:
        law = family.law
        start: tuple[Entry, ...] = (family.name, len(family.points.loss))
        if isinstance(law, Refused):
            rows.append((*start, *["–"] * (len(_SHOWN) + 1 + is_known), _ratio(found, family.name), "refused"))
            continue
        estimates = [
            (cell(law.estimates[name].value), " ", *interval_parts(law.estimates[name].interval, "")) for name in _SHOWN
        ]
        residual = cell(law.residual_rms, percent())
        rate = bits_per_byte(family.points)
        per_byte = [cell(rate * law.estimates["E"].value if rate else None)] if is_known else []
        rows.append((*start, *estimates, *per_byte, residual, _ratio(found, family.name), _SHORT[law.status]))
    return Table(
        (found.column, "rows", *_SHOWN, *["E, bits/byte"] * is_known, "residual", "compute multiplier", "law"),
        tuple(rows),
        f"Families by {found.column}, each its own joint law; compute multiplier against {found.reference.name}",
        ("text", "number", *["text"] * len(_SHOWN), *["number"] * is_known, "number", "text", "text"),
    )


def _ratio(found: Families, name: str) -> Entry:
    if name == found.reference.name:
        return "1"
    multiplier = found.multipliers[name]
    if isinstance(multiplier, Refused):
        return "refused"
    path = f"families.multipliers.{name}.ratio" if "." not in name else ""
    ends = interval_parts(multiplier.ratio.interval, path)
    return (cell(multiplier.ratio.value, path=f"{path}.value" if path else ""), " ", *ends)


def families_sentences(found: Families) -> list[str]:
    """What each multiplier says, in words, or why there is none."""
    return [_sentence(found, name, multiplier) for name, multiplier in found.multipliers.items()]


def _sentence(found: Families, name: str, multiplier: Multiplier | Refused) -> str:
    reference = found.reference.name
    if isinstance(multiplier, Refused):
        return f"Compute multiplier of {name} against {reference}: refused. {multiplier}"
    ratio, ends = multiplier.ratio.value, multiplier.ratio.interval
    what = f"{format_number(ratio)} times less" if ratio >= 1 else f"{format_number(1 / ratio)} times more"
    known = ""
    if ends is not None:
        same = " which holds 1: the table does not tell them apart" if ends.holds(1.0) else ""
        known = f"; multiplier {format_number(ratio)} {ends} at {multiplier.confidence:.0%}{',' if same else ''}{same}"
    return (
        f"{name} needs {what} compute than {reference} for the loss {format_number(multiplier.loss)}, at D/N = "
        f"{format_number(multiplier.d / multiplier.n)}, near N = {format_count(multiplier.n)} and D = "
        f"{format_count(multiplier.d)}, the middle of what both measured{known}."
    )


def whose(found: Families) -> str:
    """Whose all else is that stands beside the families' laws."""
    if found.is_pooled:
        return f"Laws of all rows together, whatever their {found.column}, are in fit.json and the report."
    return (
        f"Each {found.column} has a law of its own, as losses of different corpora are not one law. Figures, allocation, "
        f"rivals and back-test of the report are of {found.reference.name}; arm=NAME chooses another, by=none pools all."
    )


def each_family(found: Families) -> list[str]:
    """Of each family its preferred joint law, how far the points determine it, and its warnings, or why it has none."""
    blocks = []
    for family in found.families:
        law, fit = family.law, family.fit
        lines = [f"{found.column} {family.name}: {'refused.' if isinstance(law, Refused) else law.law.formula()}"]
        lines.append(wrap(law.reason if isinstance(law, Refused) else law.verdict, "  "))
        lines += [] if isinstance(fit, Refused) else [wrap(f"{one.code} {one.text}", "  ") for one in fit.findings]
        blocks.append("\n".join(lines))
    return blocks


def running_sentences(found: Mapping[str, RunForecast | Refused]) -> list[str]:
    """Where runs that are still training will end, one sentence a run."""
    return [_running(name, forecast) for name, forecast in found.items()]


def _running(name: str, found: RunForecast | Refused) -> str:
    if isinstance(found, Refused):
        return f"Run {name} is not done, and where it ends cannot be told: {found}"
    size = f", N = {format_count(found.n)}," if math.isfinite(found.n) else ""
    return (
        f"Run {name}{size} is at {found.share:.0%} of its plan with loss {format_number(found.now)}. If it goes on as the "
        f"{found.num_finished} finished runs did, it ends at {format_number(found.loss.value)} {found.loss.interval} "
        f"({found.confidence:.0%}, one run; each finished run told from the others was off by {found.error:.2%} rms)."
    )
