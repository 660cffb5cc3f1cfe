"""scalesweep: measure, fit and report empirical scaling laws of small transformers.

For use from Python, with points that are there already:

    import scalesweep as ss

    law = ss.fit(ss.read_points("points.csv"))
    print(law.summary())
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names are loaded when they are first used, so that asking for help stays quick
    from scalesweep.config import FitSpec as FitSpec
    from scalesweep.fit import fit_laws as fit_laws
    from scalesweep.fit.approaches import compare_approaches as compare_approaches
    from scalesweep.fit.forms import fit_form as fit_form
    from scalesweep.points import read_points as read_points
    from scalesweep.published import published_points as published_points

__version__ = "0.1.0"

_HOMES = {
    "FitSpec": "scalesweep.config",
    "compare_approaches": "scalesweep.fit.approaches",
    "fit_form": "scalesweep.fit.forms",
    "fit_laws": "scalesweep.fit",
    "published_points": "scalesweep.published",
    "read_points": "scalesweep.points",
}


def __getattr__(name: str) -> Any:
    """The functions of the analysis, from the modules where they live."""
    if name == "fit":
        return importlib.import_module("scalesweep.fit")
    if name not in _HOMES:
        raise AttributeError(f"module 'scalesweep' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
