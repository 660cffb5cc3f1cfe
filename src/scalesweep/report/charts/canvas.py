"""Charts drawn by matplotlib for papers and Markdown: SVG, PDF and PNG, the same bytes for the same chart.

Everything is drawn on `Figure` objects, without pyplot and its global state. Colours are viridis without the end that would
vanish on the background, and roles are told apart by people with any kind of colour blindness (after Okabe and Ito 2008).
"""

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.report.charts.chart import Axis, Band, Chart, Dots, Line, Panel, Role, Rule, Scale, write
from scalesweep.report.charts.paper import Paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
_WIDTHS = {1: 6.4, 2: 10.6, 3: 12.4}
"""Inches, by panels in a row: one fills the text of a page of A4, more are set across it or smaller."""
_MAX_ROW = 3
_NOTE_LETTERS = 52
"""Of a line of a note below a panel of the usual width."""
_BAR_GAP = 0.05
"""Room of a label beside the colour bar, as a share of its height."""
KINDS = ("svg", "pdf", "png")
"""Kinds of files; PNG at 160 dots per inch."""


@dataclass(frozen=True)
class Theme:
    """Colours on one background."""

    page: str
    ink: str
    soft: str
    grid: str
    roles: dict[Role, str]
    viridis: tuple[float, float]
    """The part of viridis that can be seen."""
    diverging: tuple[str, ...] = ()
    """Colours of a scale about zero; empty: RdBu reversed, whose middle is white."""


LIGHT = Theme(
    "#ffffff",
    "#1d2125",
    "#444444",
    "#e6e6e6",
    {"fit": "#b3322c", "first": "#2f6fa8", "second": "#b3322c", "third": "#3a3a3a", "faint": "#b5b5b5", "ink": "#444444"},
    (0.0, 0.9),
)
DARK = Theme(
    "#15181b",
    "#e4e7ea",
    "#b9c0c7",
    "#2d3338",
    {"fit": "#ff8f7a", "first": "#74b4ea", "second": "#ff8f7a", "third": "#d7dce1", "faint": "#5d666e", "ink": "#b9c0c7"},
    (0.22, 1.0),
    ("#8cd0ff", "#4796d8", "#2c5878", "#2c3136", "#7a4335", "#e0694f", "#ffb09a"),
)


def draw(chart: Chart, theme: Theme = LIGHT, kinds: Sequence[str] = KINDS) -> dict[str, bytes]:
    """The chart for one background, as files by extension, of all kinds unless some are named."""
    with _styled(theme):
        figure = lay_out(chart, theme)
        return {kind: _render(figure, kind) for kind in kinds}


def draw_for(paper: Paper, chart: Chart, theme: Theme, kind: str) -> bytes:
    """The chart as a file of one kind, as wide as asked for, with all type of one size."""
    names = ("font.size", "axes.labelsize", "axes.titlesize", "legend.fontsize")
    with _styled(theme, dict.fromkeys(names, paper.font)):
        return _render(lay_out(chart, theme, paper=paper), kind)


def usual_width(panels: int) -> float:
    """Inches of a figure with this many panels."""
    return _WIDTHS[_columns(panels)]


def draw_svg(chart: Chart, theme: Theme, inches: tuple[float, float], has_keys: bool = True) -> str:
    """The chart as SVG at a size of its own, for a page that lays out panels itself.

    Args:
        chart: the figure.
        theme: colours.
        inches: width and height.
        has_keys: whether the legend and the colour bar are drawn, for which a thumbnail has no room.
    """
    with _styled(theme):
        return _render(lay_out(chart, theme, inches, has_keys), "svg").decode()


def lay_out(
    chart: Chart, theme: Theme, inches: tuple[float, float] | None = None, has_keys: bool = True, paper: Paper | None = None
) -> "Figure":
    """The chart with everything in its place, once for all kinds of files; of the usual size unless one is given."""
    panels, columns, letters = len(chart.panels), _columns(len(chart.panels)), _NOTE_LETTERS
    if paper is not None:
        columns = paper.columns(panels, columns)
        chart, inches, letters = paper.with_room(chart, columns), paper.inches(panels, columns), paper.letters(columns)
    figure, axes = _new_figure(panels, columns, inches)
    for axis, panel in zip(axes, chart.panels, strict=True):
        _draw_panel(axis, panel, chart.scale, theme, letters)
    legend = _legend(figure, axes) if has_keys else None
    if paper is not None and legend is not None:  # it takes nothing from the panels
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + legend.get_window_extent().height / figure.dpi)
    if has_keys and chart.scale is not None:
        _colour_bar(figure, axes, chart.scale, theme, 1 if paper is None else -(-panels // columns))
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)  # as every drawing would do again, if it were left in
    figure.set_layout_engine(None)  # "none" would leave a place for one, and savefig draws twice for that
    return figure


@contextlib.contextmanager
def _styled(theme: Theme, further: Mapping[str, Any] = MappingProxyType({})) -> Iterator[None]:
    """While this lasts, matplotlib draws by its own defaults and this theme, whatever else is set in this process."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_style(theme) | dict(further))
        yield


def _style(theme: Theme) -> Any:
    return {
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": theme.ink,
        "axes.labelsize": 9.5,
        "axes.labelcolor": theme.ink,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.titlecolor": theme.ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "axes.edgecolor": theme.soft,
        "axes.facecolor": theme.page,
        "axes.grid": True,
        "axes.axisbelow": True,
        "figure.facecolor": theme.page,
        "grid.color": theme.grid,
        "grid.linewidth": 0.6,
        "xtick.color": theme.soft,
        "ytick.color": theme.soft,
        "legend.fontsize": 8.5,
        "mathtext.fontset": "dejavusans",
        "svg.fonttype": "path",
        "svg.hashsalt": "scalesweep",
        "pdf.fonttype": 42,
        "savefig.facecolor": theme.page,
    }


def _columns(panels: int) -> int:
    """Panels of a row, at most three."""
    return panels if panels <= _MAX_ROW else (panels + 1) // 2 if panels <= 2 * _MAX_ROW else _MAX_ROW


def _new_figure(panels: int, columns: int, inches: tuple[float, float] | None) -> tuple["Figure", list["Axes"]]:
    """A figure with this many panels, in rows of so many."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-panels // columns)
    size = inches or (_WIDTHS[columns], 3.7 if rows == 1 else 3.1 * rows)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)  # measures text by itself; without a canvas every measurement begins a picture and drops it
    axes = list(figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.05}).flat)
    for axis in axes[panels:]:
        axis.set_axis_off()
    return figure, axes[:panels]


def _draw_panel(axis: "Axes", panel: Panel, scale: Scale | None, theme: Theme, letters: int) -> None:
    for level, mark in enumerate(panel.marks):
        _draw_mark(axis, mark, scale, theme, 2 + 0.01 * level)  # in their order, between matplotlib's grid and its text
    _set_axis(axis, "x", panel.x)
    _set_axis(axis, "y", panel.y)
    axis.set_title(in_math(panel.title))
    if panel.note:
        import textwrap

        import matplotlib

        size = min(8, matplotlib.rcParams["font.size"])
        place: dict[str, Any] = {"xycoords": "axes fraction", "xytext": (0, -36), "textcoords": "offset points", "va": "top"}
        axis.annotate("\n".join(textwrap.wrap(panel.note, letters)), (0, 0), color=theme.roles["fit"], fontsize=size, **place)


def _legend(figure: "Figure", axes: Sequence["Axes"]) -> "Legend | None":
    """One legend of all panels below them, where it covers no point; none where no mark has a name."""
    named = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    for columns in range(len(named), 0, -1):  # as many columns as the figure is wide
        legend = figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns, frameon=False)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return legend
        legend.remove()
    return None


def _draw_mark(axis: "Axes", mark: Dots | Line | Band | Rule, scale: Scale | None, theme: Theme, level: float) -> None:
    match mark:
        case Rule():
            draw_rule = axis.axvline if mark.side == "x" else axis.axhline
            draw_rule(mark.at, color=theme.soft, linewidth=0.8, linestyle=_DASHES[mark.dash], zorder=level)
        case Band():
            axis.fill_between(
                mark.x, mark.low, mark.high, color=theme.roles[mark.colour], alpha=0.16, linewidth=0, zorder=level
            )
        case Line():
            colour = _colours(mark.colour, scale, theme)
            label = mark.name if isinstance(mark.colour, str) else ""
            dash = _DASHES[mark.dash]
            axis.plot(mark.x, mark.y, color=colour, ls=dash, lw=mark.width, label=label or None, zorder=level)
        case Dots():
            _draw_dots(axis, mark, scale, theme, level)


def _draw_dots(axis: "Axes", mark: Dots, scale: Scale | None, theme: Theme, level: float) -> None:
    if mark.low is not None and mark.high is not None:
        axis.vlines(mark.x, mark.low, mark.high, color=theme.soft, linewidth=0.8, alpha=0.7, zorder=level)
    colour = _colours(mark.colour, scale, theme)
    is_map = mark.symbol == "square"
    edge = colour if mark.is_hollow else theme.soft if is_map else "none"
    shape: dict[str, Any] = {
        "s": mark.size**2,
        "marker": "s" if is_map else "o",
        "facecolors": "none" if mark.is_hollow else colour,
        "edgecolors": edge,
        "linewidths": 0.9 if mark.is_hollow else 0.4 if is_map else 0.0,
        "label": (mark.name if isinstance(mark.colour, str) else "") or None,
        "zorder": level,
    }
    axis.scatter(mark.x, mark.y, **shape)


def _colours(colour: Role | float | FloatArray, scale: Scale | None, theme: Theme) -> Any:
    if isinstance(colour, str):
        return theme.roles[colour]
    assert scale is not None, "a value has a colour on a scale only"
    return palette(scale, theme).to_rgba(scale.share(colour))


def palette(scale: Scale, theme: Theme) -> "ScalarMappable":
    """Colours of shares from 0 to 1."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    return ScalarMappable(Normalize(0, 1), ListedColormap(colours(theme, scale.is_diverging, 256)))


def colours(theme: Theme, is_diverging: bool, num: int) -> FloatArray:
    """So many colours along a scale, shape (num, 4); what is near zero is near the page in both themes."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    if is_diverging and theme.diverging:
        return LinearSegmentedColormap.from_list("diverging", theme.diverging)(np.linspace(0, 1, num))
    name, span = ("RdBu_r", (0.02, 0.98)) if is_diverging else ("viridis", theme.viridis)
    return colormaps[name](np.linspace(*span, num))


def _colour_bar(figure: "Figure", axes: list["Axes"], scale: Scale, theme: Theme, rows: int) -> None:
    """The scale of the colours beside the panels, as slender beside so many rows as beside one."""
    bar = figure.colorbar(palette(scale, theme), ax=axes, pad=0.012, aspect=30 * rows)
    ticks = scale.spaced_ticks(_BAR_GAP)
    bar.set_ticks(scale.share(np.array(ticks)).tolist(), labels=[write(scale.quantity)(tick) for tick in ticks])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label(scale.label)


def _set_axis(axis: "Axes", side: str, of: Axis) -> None:
    from matplotlib.ticker import NullLocator

    ticks = of.ticks()
    settings = {
        "scale": "log" if of.is_log else "linear",
        "lim": (of.low, of.high),
        "ticks": [tick for tick, _ in ticks],
        "ticklabels": [text for _, text in ticks],
        "label": of.label,
    }
    axis.set(**{f"{side}{name}": value for name, value in settings.items()})
    (axis.xaxis if side == "x" else axis.yaxis).set_minor_locator(NullLocator())


def in_math(markup: str) -> str:
    """Markup of a title as matplotlib writes it: raised and lowered parts as mathematics, the rest as text."""
    text = re.sub(r"<sup>(.*?)</sup>", r"$^{\\mathregular{\1}}$", markup)
    text = re.sub(r"<sub>(.*?)</sub>", r"$_{\\mathregular{\1}}$", text)
    return re.sub(r"<i>(.*?)</i>", r"$\1$", text)


def _render(figure: "Figure", kind: str) -> bytes:
    """The figure as the bytes of a file of this kind."""
    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Date": None},
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }
    content = io.BytesIO()
    figure.savefig(content, format=kind, metadata=metadata[kind], dpi=160)
    return content.getvalue()
