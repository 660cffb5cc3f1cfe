"""Sentences and tables of the report whose conventions of N and C are said in words."""

from collections.abc import Sequence

from scalesweep.analysis.conventions import Convention
from scalesweep.counting import flops_in_words, params_in_words
from scalesweep.fit import SweepFit
from scalesweep.fit.summary import footer
from scalesweep.report.studies import StudyRow, sources_table, values_table


def footer_in_words(fit: SweepFit) -> list[str]:
    """The sentences on data and method."""
    plain = f"N counts: {fit.params_convention}. C counts: {fit.flops_convention}."
    words = f"N counts: {params_in_words(fit.params_convention)}. C counts: {flops_in_words(fit.flops_convention)}."
    return [line.replace(plain, words) for line in footer(fit)]


def values_in_words(rows: Sequence[StudyRow]) -> list[dict[str, str]]:
    """Published values beside those of the analysis."""
    shown = zip(values_table(rows), rows, strict=True)
    return [{**values, "counted here": _counted(values["counted here"], row.convention)} for values, row in shown]


def sources_in_words(rows: Sequence[StudyRow]) -> list[dict[str, str]]:
    """Sources, counts and ranges of the published values."""
    shown = zip(sources_table(rows), rows, strict=True)
    return [
        {
            **values,
            "N counts": params_in_words(values["N counts"]),
            "C counts": flops_in_words(values["C counts"]),
            "remarks": _counted(values["remarks"], row.convention),
        }
        for values, row in shown
    ]


def _in_words(convention: Convention) -> str:
    """What N and C count."""
    n, c = convention
    return f"N: {params_in_words(n)}; C: {flops_in_words(c)}"


def _counted(text: str, convention: Convention) -> str:
    n, c = convention
    return text.replace(f"N {n}, C {c}", _in_words(convention))
