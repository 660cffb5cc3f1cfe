"""Laws in a terminal: a table with every estimate on a terminal, the plain text elsewhere."""

import os
import pty
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from scalesweep.cli import main
from scalesweep.cli.help import command_help
from scalesweep.cli.plot import PLOT
from scalesweep.errors import SpecError
from scalesweep.laws import Chinchilla
from scalesweep.report.figures import figures
from scalesweep.report.words.fit import TITLES
from scalesweep.units import format_number

LAW = Chinchilla(E=1.9, A=120, B=300, alpha=0.32, beta=0.35)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("points") / "points.csv"
    rows = [f"{n},{d},{float(LAW.predict(n, d)):.6f}" for n in (1e4, 1e5, 1e6, 1e7) for d in (1e6, 1e7, 1e8, 1e9)]
    path.write_text("n,d,loss\n" + "\n".join(rows) + "\n")
    return path


def on_terminal(words: list[str], columns: int) -> str:
    """What the command writes to a terminal of this width."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm-256color"}
    process = subprocess.Popen([sys.executable, "-m", "scalesweep", *words], stdout=theirs, env=environment)
    os.close(theirs)
    parts = []
    while True:
        try:
            parts.append(os.read(ours, 65536))
        except OSError:  # Linux ends a pseudo-terminal so
            break
        if not parts[-1]:
            break
    os.close(ours)
    assert process.wait() == 0
    return b"".join(parts).decode()


@pytest.mark.slow
def test_on_a_terminal_laws_are_tables(points: Path, tmp_path: Path) -> None:
    words = ["report", str(points), "fit.bootstrap=0", f"dir={tmp_path}"]
    narrow, wide = (on_terminal(words, columns) for columns in (80, 120))
    for text in (narrow, wide):
        assert "\x1b[1m" in text
        assert TITLES["joint"] in text
        assert format_number(LAW.alpha) in text
        assert "Report: " in text
    assert "exponent of N" in wide
    assert "exponent of N" not in narrow


def test_elsewhere_laws_are_plain_text(points: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(points), "fit.bootstrap=0", f"dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out[out.index("Joint law") : out.index("\n\nReport: ")] in (tmp_path / "report.md").read_text()


def test_a_figure_is_drawn_into_a_file_or_the_terminal(
    points: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "joint.pdf"
    assert main(["plot", "joint_fit", "--points", str(points), f"out={out}", "fit.bootstrap=0", "theme=dark"]) == 0
    assert out.read_bytes().startswith(b"%PDF")
    assert capsys.readouterr().out.startswith(f"{out}: ")
    assert main(["plot", "joint_fit", f"--points={points}", "fit.bootstrap=0"]) == 0
    text = capsys.readouterr().out
    assert "training tokens D" in text
    assert "\x1b" not in text


def test_a_figure_for_a_column_has_its_width_and_one_size_of_type(
    points: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "column.pdf"
    drawn = ["plot", "joint_fit", str(points), "fit.bootstrap=0", "width=3.25", f"out={out}"]
    heights = {}
    for words in ("panel=1 title=off", "panel=1 title=on", "title=on", "panel=1 font=6"):
        assert main([*drawn, *words.split()]) == 0
        content = out.read_bytes()
        ((width, heights[words]),) = [tuple(map(float, box)) for box in re.findall(rb"/MediaBox \[ 0 0 (\S+) (\S+) ]", content)]
        pages = [zlib.decompress(found) for found in re.findall(rb"stream\r?\n(x.*?)\r?\nendstream", content, re.DOTALL)]
        sizes = {float(size) for page in pages for size in re.findall(rb"/F\S+ (\S+) Tf", page)}
        assert width == pytest.approx(3.25 * 72)
        assert sizes == {6.0 if "font=6" in words else 8.0}
    assert f"{out}: Panel 1 of 2: " in capsys.readouterr().out
    assert heights["title=on"] > 1.5 * heights["panel=1 title=on"]  # its panels are set below each other


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (lambda p: ["joint_fit", p, "width=40", "out=a.pdf"], "width = '40': must be inches from 1 to 20."),
        (lambda p: ["joint_fit", p, "width=wide", "out=a.pdf"], "width = 'wide': must be a positive number, such as"),
        (lambda p: ["joint_fit", p, "font=1", "out=a.pdf"], "font = '1': must be points from 4 to 24."),
        (lambda p: ["joint_fit", p, "panel=0"], "panel = '0': must be a positive whole number"),
        (lambda p: ["joint_fit", p, "panel=9", "fit.bootstrap=0"], "panel = 9: joint_fit has 2 panels here, counted from 1."),
        (lambda p: ["joint_fit", p, "title=no"], "title = 'no': must be one of on, off"),
        (
            lambda p: ["joint_fit", p, "width=3.25"],
            "width= has an effect only on a file; add out=FILE, such as out=joint_fit.pdf.",
        ),
        (lambda p: [], "plot takes the name of a figure first; there are frontier, "),
        (lambda p: ["power_law", p], "'power_law' is no figure"),
        (lambda p: ["joint_fit", p, "out=figure.jpg"], "out = 'figure.jpg': must end in .svg, .pdf, .png"),
        (lambda p: ["joint_fit", p, "theme=blue"], "theme = 'blue': must be one of light, dark"),
        (lambda p: ["tuning", p, "fit.bootstrap=0"], "tuning cannot be drawn. No learning rate was tuned."),
        (lambda p: ["curves", p, "fit.bootstrap=0"], "curves cannot be drawn. There are no training curves"),
        (lambda p: ["joint_fit", p, "fit.bootstrap=0", "out=/proc/none/figure.svg"], "cannot be written: "),
        (lambda p: ["joint_fit"], "plot joint_fit takes a sweep's directory, a file of points or points=STUDY"),
        (lambda p: ["joint_fit"], "such as: scalesweep plot joint_fit runs/demo"),
        (lambda p: [str(p)], "plot takes the name of a figure before "),
        (lambda p: ["points=chinchilla"], "such as: scalesweep plot power_laws points=chinchilla"),
        (lambda p: ["joint_fit", "points=named.csv"], "as in: scalesweep plot joint_fit named.csv"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(points: Path, words: Callable[[str], list[str]], said: str) -> None:
    with pytest.raises(SpecError) as error:
        PLOT(words(str(points)))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_every_figure_is_named_in_the_help_and_the_documents() -> None:
    named = command_help(PLOT).split("Figures: ")[1].split(" (docs")[0]
    assert named.split(", ") == list(figures())
    page = (Path(__file__).parents[2] / "docs" / "figures.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in figures())
