"""The report of an analysis: one HTML page that works offline, the same as Markdown, figures, tables, and fit.json.

`scalesweep fit` writes fit.json and the tables alone, because the page and its figures take longer than the fit.

Who calls it: the command line, with an analysis of points from any source. It computes nothing that the analysis does not hold.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scalesweep.errors import Refused
from scalesweep.files import plain_write_errors
from scalesweep.report.context import ReportContext

if TYPE_CHECKING:
    from scalesweep.analysis.analyse import Analysis

__all__ = ["PICTURES", "Pictures", "ReportContext", "files_of", "write_report", "write_tables"]
Pictures = Literal["none", "png", "all"]
"""Files of figures beside the page, which draws its own: none, those that report.md shows, or SVG and PDF for papers too."""
PICTURES: Mapping[Pictures, tuple[str, ...]] = {"none": (), "png": ("png",), "all": ("svg", "pdf", "png")}
"""The kinds of files of each choice."""
_TABLES = ("fit.json", "laws.csv", "laws.tex", "back_test.csv", "frontier.csv")

_HINT = "make it writable, or name another place with dir=...."


def write_tables(directory: Path, analysis: "Analysis", context: ReportContext) -> tuple[str, ...]:
    """Write fit.json and the tables (laws.csv, laws.tex, back_test.csv, frontier.csv) into `directory`, replacing older ones.

    Returns:
        Names of the files that the analysis has.

    Raises:
        StoreError: the directory cannot be written.
    """
    files = _tables(analysis, context)
    with plain_write_errors(Path(directory), _HINT):
        _write(Path(directory), files, [directory / name for name in _TABLES])
    return tuple(files)


def write_report(directory: Path, analysis: "Analysis", context: ReportContext, pictures: Pictures = "png") -> Path:
    """Write the page, its Markdown, fit.json, the tables and the figures into `directory`, replacing older ones.

    A figure that was drawn before, of the same numbers by the same program, is not drawn again.

    Returns:
        The path of report.html.

    Raises:
        StoreError: the directory cannot be written.
    """
    from scalesweep.report.charts.canvas import KINDS
    from scalesweep.report.charts.chart import Chart
    from scalesweep.report.charts.pictures import drawing_ahead, picture
    from scalesweep.report.figures import all_figures, figures
    from scalesweep.report.figures.material import Material
    from scalesweep.report.pages.html import render_html
    from scalesweep.report.pages.markdown import render_markdown
    from scalesweep.report.review.checklist import reviewed

    directory = Path(directory)
    write_tables(directory, analysis, context)
    found = reviewed(analysis, context)
    drawn = all_figures(Material(analysis.points, analysis, context.curves, context.frontier))
    wanted = [(chart, kind) for chart in drawn if isinstance(chart, Chart) for kind in PICTURES[pictures]]
    with drawing_ahead(wanted):
        files: dict[str, str | bytes] = {
            "report.md": render_markdown(analysis, context, found, drawn, has_pictures=pictures != "none"),
            "report.html": render_html(analysis, context, found, drawn),
        }
        files |= {f"figures/{chart.name}.{kind}": picture(chart, kind) for chart, kind in wanted}
    with plain_write_errors(directory, _HINT):
        _write(directory, files, [directory / "figures" / f"{name}.{kind}" for name in figures() for kind in KINDS])
    return directory / "report.html"


def files_of(directory: Path) -> list[Path]:
    """The files of a report that are in `directory`."""
    figures = [path for kind in PICTURES["all"] for path in sorted((directory / "figures").glob(f"*.{kind}"))]
    named = [directory / name for name in (*_TABLES, "report.html", "report.md")]
    return [path for path in (*named, *figures) if path.is_file()]


def _tables(analysis: "Analysis", context: ReportContext) -> dict[str, str | bytes]:
    """Content of fit.json and of the tables, by name."""
    from scalesweep.report.pages.tables import render_back_test, render_csv, render_latex

    files: dict[str, str | bytes] = {
        "fit.json": analysis.to_json(),
        "laws.csv": render_csv(analysis.fit),
        "laws.tex": render_latex(analysis.fit),
    }
    if not isinstance(analysis.tournament, Refused):
        files["back_test.csv"] = render_back_test(analysis.tournament.tested)
    if context.tuning:
        files["frontier.csv"] = analysis.points.frame.to_csv(index=False)
    return files


def _write(directory: Path, files: dict[str, str | bytes], earlier: list[Path]) -> None:
    """The files, and none of `earlier` that an earlier analysis had and this one does not have."""
    for path in set(earlier) - {directory / name for name in files}:
        path.unlink(missing_ok=True)
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
