"""The figures of a report, each as SVG and PNG: loss against N, D and C; training curves; the joint fit.

Everything is drawn on `Figure` objects, without pyplot and its global state. Colours are viridis by log N, without the
yellow end that would vanish on white.
"""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalesweep.fit import LawFit, SweepFit
from scalesweep.laws import Coupled, JointLaw, PowerLaw, format_count, format_number
from scalesweep.points import Points

if TYPE_CHECKING:  # matplotlib takes half a second to import
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]
Curves = Mapping[str, Sequence[tuple[float, float]]]

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.labelsize": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "mathtext.fontset": "dejavusans",
    "svg.fonttype": "path",
    "svg.hashsalt": "scalesweep",
}
_INK = "#b3322c"
"""Colour of fitted lines over points that are coloured by N."""
_MAX_LINES = 8
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_AXES = {
    "n": "parameters N",
    "d": "training tokens D",
    "c": "training FLOPs C",
    "loss": "validation loss (nats/token)",
}


@dataclass(frozen=True, eq=False)
class Drawing:
    """A finished figure."""

    name: str
    """File name without extension."""
    caption: str
    """A sentence or two on what is shown."""
    svg: str
    """A complete SVG document."""
    png: bytes
    """The same at 160 dots per inch."""

    def inline_svg(self) -> str:
        """The SVG element for an HTML page: no prolog, no metadata, no namespaces, ids made unique by the figure's name."""
        element = self.svg[self.svg.index("<svg") :]
        element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
        element = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", element).replace("xlink:href", "href")
        element = re.sub(r'\s(width|height)="[\d.]+pt"', "", element, count=2)
        return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{self.name}-", element)


def draw_figures(points: Points, fit: SweepFit, curves: Curves) -> list[Drawing]:
    """All figures that the data allow: curves only where there are any, the joint fit only where it was not refused."""
    import matplotlib

    drawings = []
    with matplotlib.rc_context(_STYLE):
        drawings.append(_power_laws(points, fit))
        if fit.preferred is not None:
            drawings.append(_joint(points, fit.preferred))
        if any(curves.values()):
            drawings.append(_curves(points, curves))
    return drawings


def format_power(value: float) -> str:
    """A large number as 3·10¹⁸."""
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = f"{value / 10**exponent:.3g}"
    power = "10" + str(exponent).translate(_SUPERSCRIPTS)
    return power if mantissa == "1" else f"{mantissa}·{power}"


MIN_TICK_GAP = 0.1
"""Room of a label along an axis, as a share of its length."""


def log_ticks(low: float, high: float) -> list[float]:
    """Four to eight round ticks between low and high for a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    choices = [[10.0**k for k in decades[::stride]] for stride in (4, 3, 2, 1)]
    for mantissas in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        choices.append([m * 10.0**k for k in decades for m in mantissas])
    step = 10.0 ** math.floor(math.log10(high - low))
    choices += [[s * i for i in range(math.floor(low / s), math.ceil(high / s) + 1)] for s in (step, step / 2, step / 5)]
    for choice in choices:
        inside = [tick for tick in choice if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(inside) >= 4:
            break
    return _spaced(inside, MIN_TICK_GAP * math.log(high / low))


def _spaced(ticks: list[float], gap: float) -> list[float]:
    """The ticks without those whose labels would touch that of the one before, in the logarithm."""
    kept = ticks[:1]
    for tick in ticks[1:]:
        if math.log(tick / kept[-1]) >= gap:
            kept.append(tick)
    return kept


def _power_laws(points: Points, fit: SweepFit) -> Drawing:
    """Kaplan et al. 2020, figure 1: loss against each variable where it is the bottleneck."""
    figure = _figure(11, 3.6)
    axes = figure.subplots(1, 3, sharey=True)
    colours = _colours(points.n)
    refusals: Mapping[Any, str] = fit.refusals
    shown = [points.loss]
    for axis, column, law in zip(axes, ("n", "d", "c"), (fit.by_n, fit.by_d, fit.by_c), strict=True):
        shown.append(_power_law_panel(axis, points, column, law, refusals.get(f"by_{column}", ""), colours))
    _log_axis(axes[0], "y", np.concatenate(shown), "loss")
    return _drawing(
        figure,
        "power_laws",
        f"Loss against parameters, tokens and compute. Filled: the points that enter the line; hollow: the others. "
        f"Shaded: {fit.confidence:.0%} bootstrap interval of the line.",
    )


def _power_law_panel(
    axis: "Axes", points: Points, column: str, law: LawFit | None, refusal: str, colours: "ScalarMappable"
) -> FloatArray:
    """One panel; returns the losses of its line, which the shared axis has to hold."""
    x, loss = getattr(points, column), points.loss
    chosen = np.zeros(len(loss), dtype=bool)
    chosen[list(law.rows) if law else []] = True
    axis.scatter(x[~chosen], loss[~chosen], s=13, facecolors="none", edgecolors="#b5b5b5", linewidths=0.7)
    _error_bars(axis, points, x, chosen)
    _log_axis(axis, "x", x, column)
    axis.scatter(x[chosen], loss[chosen], s=20, c=colours.to_rgba(points.n[chosen]), zorder=3, linewidths=0)
    if law is None:
        axis.set_title("no law")
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        axis.text(0.03, 0.04, _wrap(refusal, 44), transform=axis.transAxes, color=_INK, va="bottom", fontsize=8, bbox=box)
        return np.empty(0)
    assert isinstance(law.law, PowerLaw)
    line = np.geomspace(x[chosen].min(), x[chosen].max(), 60)
    predicted = law.law.predict(line)
    axis.plot(line, predicted, color=_INK, linewidth=1.4, zorder=4)
    if (band := law.band(line)) is not None:
        axis.fill_between(line, *band, color=_INK, alpha=0.18, linewidth=0, zorder=2)
    axis.set_title(_in_math(law.law))
    return predicted


def _joint(points: Points, fit: LawFit) -> Drawing:
    """The joint law's lines over the points, and its residuals over compute."""
    law = fit.law
    assert isinstance(law, JointLaw)
    figure = _figure(11, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1), gridspec_kw={"wspace": 0.06})
    colours = _colours(points.n)
    rgba = colours.to_rgba(points.n)
    _error_bars(left, points, points.d, np.ones(len(points.n), dtype=bool))
    left.scatter(points.d, points.loss, s=18, c=rgba, linewidths=0, zorder=3)
    tokens = np.geomspace(points.d.min(), points.d.max(), 80)
    sizes = _some_sizes(points.n)
    for size, colour in zip(sizes, colours.to_rgba(np.array(sizes)), strict=True):
        left.plot(tokens, law.predict(size, tokens), color=colour, linewidth=1.1, zorder=2)
    left.set_title(_in_math(law))
    _log_axis(left, "x", points.d, "d")
    _log_axis(left, "y", points.loss, "loss")
    _colour_bar(figure, left, colours, points.n)
    residual = 100 * (points.loss / law.predict(points.n, points.d) - 1)
    right.axhline(0, color="#444444", linewidth=0.7)
    right.scatter(points.c, residual, s=18, c=rgba, linewidths=0, zorder=3)
    right.set_title("measured against fitted")
    right.set_ylabel("residual (% of the fitted loss)")
    right.margins(y=0.12)
    _log_axis(right, "x", points.c, "c")
    return _drawing(
        figure,
        "joint_fit",
        "Left: loss against tokens with the joint law's line for some sizes, coloured by parameters. "
        "Right: what the law leaves over; structure along compute means that the form is wrong.",
    )


def _curves(points: Points, curves: Curves) -> Drawing:
    """Training loss against tokens, coloured by model size."""
    figure = _figure(7.5, 4.2)
    axis = figure.subplots()
    frame = points.frame
    sizes = dict(zip(frame["key"], frame["n"], strict=True)) if "key" in frame else {}
    known = np.array([size for key, size in sizes.items() if key in curves and math.isfinite(size)])
    colours = _colours(known if len(known) else points.n)
    drawn = []
    for key, curve in sorted(curves.items(), key=lambda item: -float(sizes.get(item[0], 0.0))):
        line = np.array([(t, loss) for t, loss in curve if t > 0 and 0 < loss < math.inf]).reshape(-1, 2)
        if not len(line):
            continue
        drawn.append(line)
        size = sizes.get(key, math.nan)
        colour: Any = colours.to_rgba(size) if math.isfinite(size) else "#b5b5b5"
        axis.plot(line[:, 0], line[:, 1], color=colour, linewidth=0.9, alpha=0.85)
        axis.plot(line[-1:, 0], line[-1:, 1], color=colour, marker="o", markersize=3)
    if drawn:
        every = np.concatenate(drawn)
        _log_axis(axis, "x", every[:, 0], "d")
        _log_axis(axis, "y", every[:, 1], "loss")
    axis.set_ylabel("training loss (nats/token)")
    if len(known):
        _colour_bar(figure, axis, colours, known)
    return _drawing(figure, "curves", "Training loss of every cell, coloured by parameters; a dot marks the end of a curve.")


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _colours(n: FloatArray) -> "ScalarMappable":
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm

    low, high = float(n.min()), float(n.max())
    if low == high:
        low, high = low / 2, high * 2
    return ScalarMappable(LogNorm(low, high), ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.9, 256))))


def _colour_bar(figure: "Figure", axis: "Axes", colours: "ScalarMappable", n: FloatArray) -> None:
    bar = figure.colorbar(colours, ax=axis, pad=0.015, aspect=30)
    ticks = _some_sizes(n)
    bar.set_ticks(ticks, labels=[format_count(tick) for tick in ticks])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label(_AXES["n"])


def _some_sizes(n: FloatArray) -> list[float]:
    """All sizes if they are few, else measured sizes that are about evenly spaced in log N."""
    sizes = np.unique(n)
    if len(sizes) <= _MAX_LINES:
        return [float(size) for size in sizes]
    wanted = np.geomspace(sizes[0], sizes[-1], _MAX_LINES)
    nearest = {int(np.argmin(np.abs(np.log(sizes / size)))) for size in wanted}
    return [float(sizes[i]) for i in sorted(nearest)]


def _log_axis(axis: "Axes", side: Literal["x", "y"], values: FloatArray, column: str) -> None:
    """A logarithmic axis over the values with a little room, round ticks and its label."""
    from matplotlib.ticker import NullLocator

    low, high = float(values.min()), float(values.max())
    room = (high / low) ** 0.05 if high > low else 1.1
    low, high = low / room, high * room
    ticks = log_ticks(low, high)
    writers: dict[str, Callable[[float], str]] = {"c": format_power, "loss": format_number}
    write = writers.get(column, format_count)
    settings = {
        "scale": "log",
        "lim": (low, high),
        "ticks": ticks,
        "ticklabels": [write(tick) for tick in ticks],
        "label": _AXES[column],
    }
    axis.set(**{f"{side}{name}": value for name, value in settings.items()})
    (axis.xaxis if side == "x" else axis.yaxis).set_minor_locator(NullLocator())


def _error_bars(axis: "Axes", points: Points, x: FloatArray, chosen: NDArray[np.bool_]) -> None:
    if "loss_se" not in points.frame:
        return
    error = points.used["loss_se"].to_numpy(dtype=np.float64)
    shown = chosen & np.isfinite(error)
    if shown.any():
        axis.errorbar(x[shown], points.loss[shown], error[shown], fmt="none", ecolor="#777777", elinewidth=0.8, zorder=2)


def _in_math(law: JointLaw | PowerLaw) -> str:
    """The law with its numbers, as mathematics for matplotlib."""
    if isinstance(law, PowerLaw):
        x = law.variable
        return rf"$L({x}) = ({_math_number(law.scale)}\,/\,{x})^{{{format_number(law.exponent)}}}$"
    n_power, d_power = format_number(law.alpha), format_number(law.beta)
    terms = (rf"{_math_number(law.A)}\,/\,N^{{{n_power}}}", rf"{_math_number(law.B)}\,/\,D^{{{d_power}}}")
    if isinstance(law, Coupled):
        power, outer = rf"^{{1/{format_number(law.kappa)}}}", rf"^{{{format_number(law.kappa)}}}"
        return rf"$L(N, D) = {_math_number(law.E)} + [({terms[0]}){power} + ({terms[1]}){power}]{outer}$"
    return rf"$L(N, D) = {_math_number(law.E)} + {terms[0]} + {terms[1]}$"


def _math_number(value: float) -> str:
    if math.isinf(value):
        return r"\infty"
    mantissa, _, exponent = format_number(value).partition("e")
    return rf"{mantissa}{{\cdot}}10^{{{int(exponent)}}}" if exponent else mantissa


def _wrap(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def _drawing(figure: "Figure", name: str, caption: str) -> Drawing:
    svg, png = io.StringIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    return Drawing(name, caption, svg.getvalue(), png.getvalue())
