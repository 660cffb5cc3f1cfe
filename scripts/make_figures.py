"""Draws the pictures of README.md and docs/ that show a table of points, and notes in docs/figures/made.json what each says.

usage: python scripts/make_figures.py [DIR]

DIR is a sweep of the demo, whose points replace docs/figures/demo.csv first. A note holds the words, axes and places of marks
of a fit with few resamples, by which a test sees in seconds whether a picture is that of the code and the points of today.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from scalesweep.cli import main
from scalesweep.report.charts.canvas import LIGHT, draw
from scalesweep.report.charts.chart import Axis, Band, Chart, Mark, Rule
from scalesweep.report.figures import figures
from scalesweep.report.figures.material import Material
from scalesweep.sweep.subject import read_subject

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures"
POINTS = FIGURES / "demo.csv"
NOTES = FIGURES / "made.json"
FEW = "fit.bootstrap=20"
"""Resamples of the notes."""
SOURCES = {
    "chinchilla": (
        ["points=chinchilla", "fit.huber_delta=0.001"],
        ("isoflops", "optima", "kaplan_form", "residuals", "profile", "back_test", "next_gain"),
    ),
    "demo": ([str(POINTS)], ("joint_fit", "power_laws")),
}
"""The words that name the points, and the figures that are drawn of them."""


def material(source: str, *settings: str) -> Material:
    """What the figures of a source are drawn from, fitted with further settings."""
    subject = read_subject([*SOURCES[source][0], *settings], "make_figures")
    return Material(subject.points, subject.analyse(), subject.context.curves, subject.context.frontier)


def charts(source: str, of: Material) -> dict[str, Chart]:
    """The figures of a source by the names of their files."""
    made = {f"{source}_{name}": figures()[name](of) for name in SOURCES[source][1]}
    if refused := [name for name, chart in made.items() if not isinstance(chart, Chart)]:
        raise SystemExit(f"{', '.join(refused)} cannot be drawn of these points")
    return {name: chart for name, chart in made.items() if isinstance(chart, Chart)}


def note(chart: Chart) -> list[Any]:
    """What a figure says: its words, and for each panel its axes and its marks."""
    return [
        chart.caption,
        *(
            [
                panel.title,
                panel.note,
                *_side(panel.x),
                *_side(panel.y),
                [_place(mark, panel.x, panel.y) for mark in panel.marks],
            ]
            for panel in chart.panels
        ),
    ]


def _side(axis: Axis) -> list[Any]:
    return [axis.label, *(float(f"{end:.4g}") for end in (axis.low, axis.high))]


def _place(mark: Mark, x: Axis, y: Axis) -> list[Any]:
    """Kind and name of a mark, how many points it has, and the middle of them as shares of the axes."""
    kind = type(mark).__name__
    if isinstance(mark, Rule):
        return [kind, mark.side, _middle(np.array([mark.at]), x if mark.side == "x" else y)]
    heights = (mark.low, mark.high) if isinstance(mark, Band) else (mark.y,)
    name = "" if isinstance(mark, Band) else mark.name
    return [kind, name, len(mark.x), _middle(mark.x, x), *(_middle(values, y) for values in heights)]


def _middle(values: Any, axis: Axis) -> float:
    on = np.log if axis.is_log else np.asarray
    at = (on(np.asarray(values, float)) - on(axis.low)) / (on(axis.high) - on(axis.low))
    return round(float(at[np.isfinite(at)].mean()), 3) if np.isfinite(at).any() else 0.0


if __name__ == "__main__":
    for directory in sys.argv[1:2]:
        if code := main(["export", directory, f"out={POINTS}"]):
            raise SystemExit(code)
    notes: dict[str, dict[str, Any]] = {}
    for source in SOURCES:
        for name, chart in charts(source, material(source)).items():
            content = draw(chart, LIGHT, ["png"])["png"]
            (FIGURES / f"{name}.png").write_bytes(content)
            notes[name] = {"sha256": hashlib.sha256(content).hexdigest()}
        for name, chart in charts(source, material(source, FEW)).items():
            notes[name]["says"] = note(chart)
    NOTES.write_text(json.dumps(notes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
