"""The report of an analysis: one HTML page that works offline, the same as Markdown, figures, tables, and fit.json.

Who calls it: the command line, with an analysis of points from any source. It computes nothing that the analysis does not hold.
"""

from pathlib import Path

from scalesweep.analysis.analyse import Analysis
from scalesweep.errors import Refused
from scalesweep.files import plain_write_errors
from scalesweep.report.context import ReportContext

__all__ = ["ReportContext", "write_report"]


def write_report(directory: Path, analysis: Analysis, context: ReportContext) -> Path:
    """Write the page, its Markdown, fit.json, the tables and the figures into `directory`, replacing older ones.

    Returns:
        The path of report.html.

    Raises:
        StoreError: the directory cannot be written.
    """
    from scalesweep.report.charts.canvas import draw
    from scalesweep.report.charts.chart import Chart
    from scalesweep.report.figures import all_figures
    from scalesweep.report.figures.material import Material
    from scalesweep.report.pages.html import render_html
    from scalesweep.report.pages.markdown import render_markdown
    from scalesweep.report.pages.tables import render_back_test, render_csv, render_latex
    from scalesweep.report.review.checklist import reviewed

    found = reviewed(analysis, context)
    drawn = all_figures(Material(analysis.points, analysis, context.curves, context.frontier))
    files: dict[str, str | bytes] = {
        "fit.json": analysis.to_json(),
        "laws.csv": render_csv(analysis.fit),
        "laws.tex": render_latex(analysis.fit),
        "report.md": render_markdown(analysis, context, found, drawn),
        "report.html": render_html(analysis, context, found, drawn),
    }
    if not isinstance(analysis.tournament, Refused):
        files["back_test.csv"] = render_back_test(analysis.tournament.tested)
    if context.tuning:
        files["frontier.csv"] = analysis.points.frame.to_csv(index=False)
    for chart in (chart for chart in drawn if isinstance(chart, Chart)):
        files |= {f"figures/{chart.name}.{kind}": content for kind, content in draw(chart).items()}
    with plain_write_errors(Path(directory), "make it writable or, for a table of points, name another place with dir=...."):
        _write(Path(directory), files)
    return Path(directory) / "report.html"


def _write(directory: Path, files: dict[str, str | bytes]) -> None:
    """The files, and none of an earlier report that this one does not have."""
    from scalesweep.report.charts.canvas import KINDS
    from scalesweep.report.figures import figures

    (directory / "figures").mkdir(parents=True, exist_ok=True)
    earlier = [directory / "back_test.csv", directory / "frontier.csv"]
    earlier += [directory / "figures" / f"{name}.{kind}" for name in figures() for kind in KINDS]
    for path in set(earlier) - {directory / name for name in files}:
        path.unlink(missing_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
