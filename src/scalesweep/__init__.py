"""scalesweep: measure, fit and report empirical scaling laws of small transformers.

For use from Python, with points that are there already:

    import scalesweep as ss

    fit = ss.fit_laws(ss.read_points("points.csv"))  # or a data frame with columns of N, D, C and loss
    print(ss.summary(fit))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names are loaded when they are first used, so that asking for help stays quick
    from scalesweep.analysis.allocation.approaches import compare_approaches as compare_approaches
    from scalesweep.fit import fit_laws as fit_laws
    from scalesweep.fit.forms import fit_form as fit_form
    from scalesweep.points.published import published_points as published_points
    from scalesweep.points.reading import read_points as read_points
    from scalesweep.report.words.summary import summary as summary
    from scalesweep.run.store.measured import read_sweep as read_sweep
    from scalesweep.settings.fit import FitSpec as FitSpec
    from scalesweep.studies.load import load_study as study  # noqa: F401

_HOMES = {
    "FitSpec": "scalesweep.settings.fit",
    "compare_approaches": "scalesweep.analysis.allocation.approaches",
    "fit_form": "scalesweep.fit.forms",
    "fit_laws": "scalesweep.fit",
    "published_points": "scalesweep.points.published",
    "read_points": "scalesweep.points.reading",
    "read_sweep": "scalesweep.run.store.measured",
    "study": "scalesweep.studies.load:load_study",
    "summary": "scalesweep.report.words.summary",
}


def __getattr__(name: str) -> Any:
    """The functions of the analysis, from the modules where they live."""
    if name not in _HOMES:
        raise AttributeError(f"module 'scalesweep' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
