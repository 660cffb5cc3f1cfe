"""The report of a sweep: one HTML page that works offline, the same as Markdown, the figures, and the fit as JSON.

Who calls it: the command line, with points and a fit from any source. It computes nothing that the fit does not hold.
"""

from pathlib import Path

from scalesweep.fit import SweepFit
from scalesweep.points import Points
from scalesweep.report.context import ReportContext

__all__ = ["ReportContext", "write_report"]


def write_report(directory: Path, points: Points, fit: SweepFit, context: ReportContext) -> Path:
    """Write report.html, report.md, fit.json, laws.csv, laws.tex and the figures into `directory`, replacing older ones.

    Returns:
        The path of report.html.
    """
    from scalesweep.report.figures import draw_figures
    from scalesweep.report.html import render_html
    from scalesweep.report.tables import render_csv, render_latex
    from scalesweep.report.text import render_markdown

    drawings = draw_figures(points, fit, context.curves)
    figures = Path(directory) / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        (figures / f"{drawing.name}.svg").write_text(drawing.svg, encoding="utf-8")
        (figures / f"{drawing.name}.png").write_bytes(drawing.png)
    (figures.parent / "fit.json").write_text(fit.to_json(), encoding="utf-8")
    (figures.parent / "laws.csv").write_text(render_csv(fit), encoding="utf-8")
    (figures.parent / "laws.tex").write_text(render_latex(fit), encoding="utf-8")
    (figures.parent / "report.md").write_text(render_markdown(points, fit, context, drawings), encoding="utf-8")
    page = figures.parent / "report.html"
    page.write_text(render_html(points, fit, context, drawings), encoding="utf-8")
    return page
