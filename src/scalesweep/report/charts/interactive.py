"""Charts for the page: compact JSON that assets/report.js draws with plotly.js, and the frame that it is drawn into.

Numbers are rounded to five significant digits, a sixth of a pixel on an axis; fit.json and the tables hold the full values.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from markupsafe import Markup

from scalesweep.arrays import FloatArray
from scalesweep.report.charts.canvas import DARK, LIGHT, Theme, colours
from scalesweep.report.charts.chart import Axis, Band, Chart, Dots, Line, Mark, Panel, Rule, Scale, write

_STOPS = 17
"""Colours of a scale between which the page interpolates; between so many viridis is straight to the eye. Judgement."""
_GAPS = {"c": 0.24}
_GAP = 0.14
"""Room of a label of the scale, as a share of its length; powers of ten are long."""
_END = 0.05
"""How near to an end of the scale, as a share of its length, a label is written inward."""


@cache
def asset(name: str) -> str:
    """The text of a file of the page: plotly-basic.min.js (MIT licence, plotly-LICENSE.txt), report.js or report.css."""
    return (files("scalesweep.report") / "assets" / name).read_text(encoding="utf-8")


def charts_json(charts: Sequence[Chart]) -> str:
    """All charts and both themes, safe inside a script element."""
    content = {
        "charts": {chart.name: _chart(chart) for chart in charts},
        "themes": {"light": _theme(LIGHT), "dark": _theme(DARK)},
    }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _theme(theme: Theme) -> dict[str, Any]:
    from matplotlib.colors import to_hex

    return {
        "ink": theme.ink,
        "soft": theme.soft,
        "grid": theme.grid,
        "page": theme.page,
        "roles": dict(theme.roles),
        "scale": [to_hex(colour) for colour in colours(theme, False, _STOPS)],
        "diverging": [to_hex(colour) for colour in colours(theme, True, _STOPS)],
    }


def _chart(chart: Chart) -> dict[str, Any]:
    diverging = chart.scale is not None and chart.scale.is_diverging
    return {"diverging": diverging, "panels": [_panel(panel, chart.scale) for panel in chart.panels]}


def _panel(panel: Panel, scale: Scale | None) -> dict[str, Any]:
    return {"x": _axis(panel.x), "y": _axis(panel.y), "marks": [_mark(mark, scale) for mark in panel.marks]}


def _axis(axis: Axis) -> dict[str, Any]:
    ends = [axis.low, axis.high]
    ticks = axis.ticks()
    return {
        "label": axis.label,
        "log": axis.is_log,
        "range": rounded(np.log10(ends) if axis.is_log else np.array(ends), 7),
        "ticks": rounded(np.array([tick for tick, _ in ticks]), 7),
        "text": [text for _, text in ticks],
    }


def _mark(mark: Mark, scale: Scale | None) -> dict[str, Any]:
    match mark:
        case Rule():
            return {"kind": "rule", "side": mark.side, "at": mark.at, "dash": mark.dash}
        case Band():
            ends = {"x": rounded(mark.x), "low": rounded(mark.low), "high": rounded(mark.high)}
            return {"kind": "band", **ends, "colour": mark.colour, "group": mark.group}
        case Line():
            line_colour = (
                mark.colour if isinstance(mark.colour, str) else rounded(_shares(scale, np.array([mark.colour])), 3)[0]
            )
            shape = {"dash": mark.dash, "width": mark.width, "name": mark.name, "group": mark.group or mark.name}
            return {"kind": "line", "x": rounded(mark.x), "y": rounded(mark.y), "colour": line_colour, **shape}
        case Dots():
            colour = mark.colour if isinstance(mark.colour, str) else rounded(_shares(scale, mark.colour), 3)
            shape = {"hollow": mark.is_hollow, "size": mark.size, "square": mark.symbol == "square", "name": mark.name}
            dots: dict[str, Any] = {"kind": "dots", "x": rounded(mark.x), "y": rounded(mark.y), "colour": colour, **shape}
            dots["group"] = mark.group or mark.name
            if mark.low is not None and mark.high is not None:
                dots |= {"up": rounded(mark.high - mark.y, 3), "down": rounded(mark.y - mark.low, 3)}
            return dots | ({"hover": [escape(text) for text in mark.hover]} if mark.hover else {})


def _shares(scale: Scale | None, values: FloatArray) -> FloatArray:
    assert scale is not None, "a value has a colour on a scale only"
    return scale.share(values)


def rounded(values: FloatArray, digits: int = 5) -> list[float | None]:
    """The values with so many significant digits; what is not finite becomes a gap."""
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in np.ravel(values)]


def figure(chart: Chart) -> Markup:
    """The frame of a chart: legend, scale, panels, caption; the script fills it."""
    panels = Markup("").join(map(_frame, chart.panels))
    frame = Markup(
        '<figure id="figure-{name}" data-chart="{name}"><div class="legend"></div>{scale}'
        '<div class="panels n{number}">{panels}</div><figcaption>{caption}</figcaption></figure>'
    )
    scale = _scale_bar(chart.scale)
    return frame.format(name=chart.name, scale=scale, number=len(chart.panels), panels=panels, caption=chart.caption)


def _frame(panel: Panel) -> Markup:
    """The title of a panel is markup already, as its axes are."""
    note = Markup('<p class="note">{}</p>').format(panel.note) if panel.note else ""
    frame = Markup('<div class="panel"><h4>{}</h4><div class="plot" role="img" aria-label="{}"></div>{}</div>')
    return frame.format(Markup(panel.title), f"{panel.y.label} against {panel.x.label}", note)


def _scale_bar(scale: Scale | None) -> Markup:
    if scale is None:
        return Markup("")
    gap = _GAPS.get(scale.quantity, _GAP)
    kept = [(at, write(scale.quantity)(tick)) for tick in scale.spaced_ticks(gap) for at in (float(scale.share(tick)),)]
    label = Markup('<span{} style="left:{:.1f}%">{}</span>')
    labels = Markup("").join(label.format(_inward(at), 100 * at, text) for at, text in kept)
    kind = "diverging" if scale.is_diverging else "sequential"
    bar = Markup('<div class="scale"><b>{}</b><div><i class="{}"></i>{}</div></div>')
    return bar.format(scale.label, kind, labels)


def _inward(at: float) -> Markup:
    """The class of a label near an end of the bar, which must not reach beyond it."""
    return Markup(' class="start"' if at < _END else ' class="end"' if at > 1 - _END else "")


def gradients() -> Mapping[str, str]:
    """CSS gradients of both scales in both themes, by the name of their variable."""
    found: dict[str, str] = {}
    for name, theme in (("light", _theme(LIGHT)), ("dark", _theme(DARK))):
        found |= {f"{name}-{kind}": ",".join(theme[key]) for kind, key in (("sequential", "scale"), ("diverging", "diverging"))}
    return found
