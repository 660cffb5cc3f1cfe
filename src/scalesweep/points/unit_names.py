"""Units in which tables give N, D and C."""

from collections.abc import Mapping

from scalesweep.errors import SpecError, did_you_mean

_COUNTS = {"ones": 1.0, "millions": 1e6, "billions": 1e9}
UNITS: Mapping[str, Mapping[str, float]] = {
    "n": _COUNTS,
    "d": {**_COUNTS, "trillions": 1e12},
    "c": {
        "FLOPs": 1.0,
        "MFLOPs": 1e6,
        "GFLOPs": 1e9,
        "TFLOPs": 1e12,
        "PFLOPs": 1e15,
        "EFLOPs": 1e18,
        "ZFLOPs": 1e21,
        "PF-days": 8.64e19,
    },
}
"""By column, the factor that turns a value in that unit into parameters, tokens or FLOPs. A PF-day is 86,400 s at 1e15."""


def scale_of(column: str, unit: str) -> float:
    """The factor of a unit; case does not matter.

    Raises:
        SpecError: there is no such column or unit.
    """
    if column not in UNITS:
        raise SpecError(f"units.{column}: there is no such column; units are given of {', '.join(UNITS)}.")
    by_name = {name.lower(): factor for name, factor in UNITS[column].items()}
    if unit.lower() not in by_name:
        near = did_you_mean(unit, UNITS[column])
        raise SpecError(f"units.{column} = {unit!r}: there is no such unit{near}; choose one of {', '.join(UNITS[column])}.")
    return by_name[unit.lower()]


def in_words(unit: str) -> str:
    """The unit for people."""
    return {"EFLOPs": "EFLOPs (1e18)", "ZFLOPs": "ZFLOPs (1e21)"}.get(unit, unit)
