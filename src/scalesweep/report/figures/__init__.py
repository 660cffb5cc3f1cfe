"""The figures of a report by name, in its order."""

from collections.abc import Callable, Mapping

from scalesweep.analysis.analyse import Analysis
from scalesweep.errors import Refused
from scalesweep.report.charts.chart import Chart, Missing
from scalesweep.report.figures.frontier import frontier
from scalesweep.report.figures.laws import joint_fit, kaplan_form, power_laws, residuals, training_curves
from scalesweep.report.figures.material import Material

Figure = Callable[[Material], Chart | Refused]
TITLES = {
    "frontier": "Loss over compute, the best at each, and the forecast",
    "power_laws": "Loss against parameters, tokens and compute",
    "curves": "Training curves",
    "joint_fit": "Joint law over the points",
    "kaplan_form": "Kaplan's form",
    "isoflops": "IsoFLOP curves",
    "optima": "Compute-optimal N and D",
    "residuals": "Residuals over N and D",
    "profile": "Profile likelihood",
    "back_test": "Back-test",
    "next_gain": "Cost of the next gain",
    "tuning": "Tuning curves",
    "collapse": "Collapse of training curves",
}
"""What each figure shows, in a few words."""


def figures() -> Mapping[str, Figure]:
    """Every figure by name, in the order of the report."""
    from scalesweep.report.figures import comparisons, diagnostics

    return {
        "frontier": _of_analysis(frontier),
        "power_laws": _of_analysis(power_laws),
        "curves": training_curves,
        "joint_fit": _of_analysis(joint_fit),
        "kaplan_form": _of_analysis(kaplan_form),
        "isoflops": _of_analysis(comparisons.isoflops),
        "optima": _of_analysis(comparisons.optima),
        "residuals": _of_analysis(residuals),
        "profile": _of_analysis(diagnostics.profile),
        "back_test": _of_analysis(comparisons.back_test),
        "next_gain": _of_analysis(comparisons.next_gain),
        "tuning": diagnostics.tuning,
        "collapse": diagnostics.collapse,
    }


def _of_analysis(draw: Callable[[Analysis], Chart | Refused]) -> Figure:
    """The figure of what was fitted, refused where nothing was."""
    return lambda material: draw(material.analysis) if material.analysis else Refused("No law was fitted to these points.")


def all_figures(material: Material) -> list[Chart | Missing]:
    """Every figure, or the reason why it is not there, in the order of the report."""
    made = {name: make(material) for name, make in figures().items()}
    return [Missing(name, TITLES[name], chart.reason) if isinstance(chart, Refused) else chart for name, chart in made.items()]


def charts(material: Material) -> list[Chart]:
    """All figures that the data allow."""
    return [chart for chart in all_figures(material) if isinstance(chart, Chart)]
