"""The report: every number traces to fit.json, nothing is loaded from elsewhere, nothing is interpreted as markup."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.analysis.analyse import analyse
from scalesweep.counting import FLOPS, PARAMS, FlopsConvention, ParamsConvention
from scalesweep.errors import StoreError
from scalesweep.fit.results import Finding
from scalesweep.laws import Chinchilla
from scalesweep.points.points import points_from_rows
from scalesweep.report import ReportContext, write_report
from scalesweep.report.charts.chart import format_power, linear_ticks, log_ticks
from scalesweep.report.pages.cells import cell_rows, num_leading
from scalesweep.report.pages.html import render_html
from scalesweep.report.pages.markup import at_path
from scalesweep.report.review.checklist import reviewed
from scalesweep.report.review.warnings import meanings
from scalesweep.report.words.analysis import allocation_text, back_test_text, rivals_text
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

LAW = Chinchilla(E=1.9, A=120, B=300, alpha=0.32, beta=0.35)
NASTY = 'a <script>alert("1")</script> & | `b`'
FIGURES = (
    "back_test",
    "curves",
    "frontier",
    "isoflops",
    "joint_fit",
    "kaplan_form",
    "next_gain",
    "optima",
    "power_laws",
    "profile",
)
FIGURES += ("residuals",)
VOID = {"meta", "link", "br", "img", "hr", "input"}


EMPTY = ReportContext("empty", {}, [], {}, [], "scalesweep report points.csv")


def make_points(sizes=(1e4, 3e4, 1e5, 3e5, 1e6), tokens=(1e6, 3e6, 1e7, 3e7, 1e8)):
    rng = np.random.default_rng(0)
    rows = [
        {
            "key": f"{NASTY}{n:.0f}-{d:.0f}",
            "n": n,
            "d": d,
            "c": 6 * n * d,
            "loss": float(LAW.predict(n, d) * np.exp(0.003 * rng.standard_normal())),
            "loss_se": 0.01,
        }
        for n in sizes
        for d in tokens
    ]
    rows.append({"key": "x", "n": 1e6, "d": 1e8, "c": 6e14, "loss": float("nan"), "excluded_reason": f"diverged {NASTY}"})
    return points_from_rows(rows, "with_head", "attention", NASTY)


def make_context(points):
    curves = {key: [(1e5, 6.0), (1e6, 4.0), (2e6, float("nan"))] for key in points.frame["key"]}
    cells = [{"key": NASTY, "n": 10000, "lr": 0.0123456789, "state": "COMPLETE", "note": None}]
    return ReportContext(NASTY, curves, cells, {"commit": NASTY}, [f"careful: {NASTY}"], f"scalesweep report {NASTY}")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    points = make_points()
    analysis = analyse(points, FitSpec(bootstrap=50))
    return write_report(tmp_path_factory.mktemp("report") / "new", analysis, make_context(points), "all"), analysis


class Page(HTMLParser):
    """Checks that elements nest, and collects the `data` elements, ids and targets."""

    def __init__(self):
        super().__init__()
        self.open, self.numbers, self.ids, self.targets, self.tags = [], [], [], [], set()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.targets += [values[name] for name in ("href", "src") if name in values]
        self.targets += re.findall(r"url\(([^)]*)\)", " ".join(v or "" for v in values.values()))
        if tag == "data":
            self.numbers.append((values["data-path"], values["value"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parse(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


def test_what_is_written(report):
    path, _ = report
    assert path.name == "report.html"
    written = sorted(str(p.relative_to(path.parent)) for p in path.parent.rglob("*") if p.is_file())
    assert written == sorted(
        ["back_test.csv", "fit.json", "laws.csv", "laws.tex", "report.html", "report.md"]
        + [f"figures/{name}.{kind}" for name in FIGURES for kind in ("pdf", "png", "svg")]
    )
    for kind, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        assert (path.parent / f"figures/curves.{kind}").read_bytes().startswith(magic)


def test_numbers_equal_the_json(report):
    path, analysis = report
    content = json.loads((path.parent / "fit.json").read_text())
    assert content == json.loads(json.dumps(analysis.to_dict()))
    numbers = parse(path).numbers
    for part in ("laws.", "approaches.approaches.", "approaches.isoflop.", "rivals.standings.", "back_test.horizons."):
        assert sum(where.startswith(part) for where, _ in numbers) >= 10, part
    for where, text in numbers:
        assert float(text) == at_path(content, where), where
    markdown = (path.parent / "report.md").read_text(encoding="utf-8")
    for text in (summary(analysis.fit), allocation_text(analysis), rivals_text(analysis)):
        assert text in markdown
    assert back_test_text(analysis.tournament.tested) in markdown


def test_page_can_load_nothing(report):
    """Its own policy forbids every request; that none is made is seen in a browser, tests/report/test_browser.py."""
    page = parse(report[0])
    assert len(set(page.ids)) == len(page.ids)
    for target in page.targets:
        assert target.startswith("data:") or target.removeprefix("#") in page.ids
    text = report[0].read_text(encoding="utf-8")
    assert "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:" in text
    assert not re.search(r"https?://|@import|url\((?!#)", re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL))
    assert re.search(r"<script\b[^>]*\bsrc\b", text) is None


def test_everything_is_escaped(report):
    text = report[0].read_text(encoding="utf-8")
    assert text.count("<script") == 3
    assert NASTY not in text
    for where in ("<title>", "<h1>", "careful: ", "diverged ", "scalesweep report "):
        assert f"{where}a &lt;script&gt;" in text
    markdown = (report[0].parent / "report.md").read_text(encoding="utf-8")
    assert "| diverged a \\<script\\>" in markdown


@pytest.mark.slow
def test_same_input_same_files(report, tmp_path, monkeypatch):
    monkeypatch.setenv("SCALESWEEP_CACHE", str(tmp_path / "no figure was drawn before"))
    points = make_points()
    again = write_report(tmp_path, report[1], make_context(points), "all")
    for name in ("fit.json", "report.html", "report.md", "figures/optima.svg", "figures/optima.pdf", "figures/back_test.png"):
        assert (again.parent / name).read_bytes() == (report[0].parent / name).read_bytes()


def test_refused_law_and_no_curves(tmp_path):
    sizes = np.geomspace(1e5, 1e7, 8)
    rows = [{"n": n, "d": 20 * n, "c": 120 * n * n, "loss": float(LAW.predict(n, 20 * n))} for n in sizes]
    points = points_from_rows(rows, "total", "six_n", "ray.csv")
    (tmp_path / "figures").mkdir()
    for stale in ("back_test.csv", "figures/curves.png", "figures/mine.png"):
        (tmp_path / stale).write_text("of an earlier report, or of somebody else")
    page = write_report(tmp_path, analyse(points, FitSpec(bootstrap=20)), EMPTY)
    assert not (tmp_path / "back_test.csv").exists()
    parse(page)
    text = page.read_text(encoding="utf-8")
    assert "do not identify the joint law" in text
    assert "tokens-per-parameter ray" in text
    words = "No compute budget was measured at 3 sizes or more, so there are no isoFLOP curves."
    assert f"<b>IsoFLOP curves</b>: not drawn. {words}" in text
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert f"**IsoFLOP curves**: not drawn. {words}" in markdown
    assert "**Tuning curves**: not drawn. No learning rate was tuned." in markdown
    assert "<b>Tuning curves</b>: not drawn. No learning rate was tuned." in text
    names = [p.name for p in sorted((tmp_path / "figures").iterdir())]
    assert names == ["frontier.png", "mine.png", "power_laws.png"]
    assert "![" in markdown
    write_report(tmp_path, analyse(points, FitSpec(bootstrap=20)), EMPTY, "none")
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["mine.png"]
    assert "![" not in (tmp_path / "report.md").read_text(encoding="utf-8")
    for heading in ("Compute-optimal allocation", "Rival laws", "Back-test"):
        section = re.split(f">{heading}</h2>", text)[1].split("<h2")[0]
        assert "efused" in section
        assert "tokens-per-parameter ray" in section


def test_one_size_only(tmp_path):
    points = make_points(sizes=(1e5,), tokens=tuple(np.geomspace(1e6, 1e8, 6)))
    points = replace(points, frame=points.frame[points.frame["excluded_reason"] == ""])
    page = write_report(tmp_path, analyse(points, FitSpec(bootstrap=20)), make_context(points))
    text = page.read_text(encoding="utf-8")
    assert "only one model size" in text
    assert re.search(r'aria-label="[^"]*against parameters N"></div><p class="note">A law in N needs', text)


@given(low=st.floats(1e-3, 1e24), span=st.floats(1.001, 1e12))
def test_ticks_are_inside_few_and_rising(low, span):
    high = low * span
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 12
    assert all(low * (1 - 1e-6) <= tick <= high * (1 + 1e-6) for tick in ticks)
    assert ticks == sorted(set(ticks))


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6))
def test_linear_ticks_are_inside_few_and_rising(low, span):
    ticks = linear_ticks(low, low + span)
    assert 3 <= len(ticks) <= 11
    assert all(low - 1e-6 * span - 1e-9 <= tick <= low + span * (1 + 1e-6) + 1e-9 for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_powers():
    assert [format_power(v) for v in (1e18, 3e9, 2.5e-3)] == ["10¹⁸", "3·10⁹", "2.5·10⁻³"]


def test_tables_hold_the_estimates(report):
    import csv

    path, fit = report[0], report[1].fit
    rows = list(csv.DictReader((path.parent / "laws.csv").read_text().splitlines()))
    assert len(rows) == sum(len(law.estimates) for law in fit.laws.values())
    for row in rows:
        estimate = fit.laws[row["law"]].estimates[row["parameter"]]
        assert float(row["value"]) == estimate.value
        assert row["low"] == ("" if estimate.low is None else repr(estimate.low))
    latex = (path.parent / "laws.tex").read_text()
    assert latex.count("\\\\") == len(rows) + 1
    assert latex.count("&") == 3 * (len(rows) + 1)
    assert re.sub(r"(?m)^.*\\\\$\n", "", latex).split() == [
        *("%", r"\usepackage{booktabs}", r"\begin{tabular}{llrl}", r"\toprule", r"\midrule"),
        *[r"\addlinespace"] * (sum(bool(law.estimates) for law in fit.laws.values()) - 1),
        *(r"\bottomrule", r"\end{tabular}"),
    ]
    assert "_" not in re.sub(r"\$[^$]*\$", "", latex)


def test_every_prediction_of_the_back_test_is_in_its_table(report):
    import csv

    path, analysis = report
    tested = analysis.tournament.tested
    rows = list(csv.DictReader((path.parent / "back_test.csv").read_text().splitlines()))
    assert len(rows) == tested.rows[-1].num
    shown = [row for row in rows if row["abstained"] == "false"]
    errors = [abs(float(row["predicted"]) / float(row["measured"]) - 1) for row in shown]
    assert np.median(errors) == pytest.approx(tested.rows[-1].error)
    held = [float(row["honest_low"]) <= float(row["measured"]) <= float(row["honest_high"]) for row in shown]
    assert np.mean(held) == pytest.approx(tested.rows[-1].covered["honest"])


def test_conventions_are_said_in_words(report):
    text = report[0].read_text(encoding="utf-8")
    words = text.split("<script")[0] + text.split("</main>")[0].split("<main>")[1]
    assert "N counts: all parameters but the input embedding. C counts: all matrices and attention&#39;s context." in words
    for name in ("with_head", "six_n", "non_embedding"):
        assert name not in words
    assert set(PARAMS) == set(get_args(ParamsConvention))
    assert set(FLOPS) == set(get_args(FlopsConvention))


def test_cells_start_with_what_is_looked_for(report):
    analysis = report[1]
    frame = analysis.points.frame
    cells = [{"width": 64, **row, "state": "COMPLETE"} for row in frame.to_dict("records")]
    rows = cell_rows(analysis, replace(EMPTY, cells=cells))
    leading = ["key", "N", "D", "C", "D/N", "loss ± se", "fitted loss", "residual", "used"]
    assert list(rows[0]) == [*leading, "width", "state"]
    assert num_leading(rows) == len(leading)
    fitted = analysis.fit.preferred.law.predict(frame["n"], frame["d"])
    for row, (_, point), expected in zip(rows[:-1], frame.iterrows(), fitted, strict=False):
        assert row["fitted loss"].value == pytest.approx(expected)
        assert row["residual"].value == pytest.approx(point["loss"] / expected - 1)
        assert row["loss ± se"].text == f"{point['loss']:.4f} ± 0.0100"
        assert row["used"] == "yes"
    assert [rows[0][name].text for name in "NDC"] == ["10k", "1M", "6·10¹⁰"]
    assert (rows[-1]["loss ± se"], rows[-1]["residual"]) == (None, None)
    assert rows[-1]["used"] == f"no: diverged {NASTY}"


def test_cells_without_keys_or_losses_are_told_apart(report):
    cells = [{"n": 1e4, "d": 1e6, "c": 6e10, "loss": 3.5}, {"n": 1e4, "d": 2e6, "c": 12e10, "loss": None}]
    rows = cell_rows(report[1], replace(EMPTY, cells=cells))
    assert [row["row"] for row in rows] == [1, 2]
    assert [row["used"] for row in rows] == ["yes", "no: no loss yet"]
    assert rows[0]["loss ± se"].text == "3.5000"


def test_the_documents_have_what_the_report_says_of_a_warning():
    page = Path(__file__).parents[2] / "docs" / "warnings.md"
    documented = re.findall(r"^\| (A\d\d) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert list(meanings()) == documented
    assert all(row.says and row.why and row.remedy for row in meanings().values())


def test_the_warnings_of_a_fit_lead_somewhere(tmp_path):
    rows = [{"n": n, "d": 20 * n, "c": 120 * n * n, "loss": float(LAW.predict(n, 20 * n))} for n in np.geomspace(1e5, 1e7, 8)]
    analysis = analyse(points_from_rows(rows, "total", "six_n", "ray.csv"), FitSpec(bootstrap=20))
    page = parse(write_report(tmp_path, analysis, EMPTY))
    assert "#A01" in page.targets
    assert {target.removeprefix("#") for target in page.targets if target.startswith("#A")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_a_code_without_a_meaning_is_shown_as_text(report):
    analysis = replace(report[1], fit=replace(report[1].fit, findings=(Finding("Z99", "<new>"),)))
    content = render_html(analysis, EMPTY, reviewed(analysis, EMPTY), [])
    assert "Z99:\n&lt;new&gt;" in content and 'href="#Z99"' not in content
    assert "What the warnings mean" not in content


def test_a_directory_that_cannot_be_written_is_one_sentence(report, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written: Not a directory; make it writable"):
        write_report(tmp_path / "file" / "x", report[1], EMPTY)


def test_ends_at_a_bound_of_the_search_are_open_on_the_page_and_in_latex():
    from scalesweep.fit.estimates import Estimate
    from scalesweep.interval import Interval
    from scalesweep.report.pages.markup import interval
    from scalesweep.report.pages.tables import latex_interval

    found = Estimate(0.86, Interval(0.03, 10.0, is_high_open=True))
    page = interval({"e": found.to_dict()}, "e")
    assert page.startswith('[<data value="0.03" data-path="e.low">') and page.endswith("open]")
    assert latex_interval(found.interval) == "[$0.03000$, open]"


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [
        (0.20231, 0.28649, "[$0.202$, $0.286$]"),
        (293.9, 957.5, "[$290$, $960$]"),
        (20.04, 89_970.0, "[$20$, $90000$]"),
        (0.0, 0.80112, "[$0.00$, $0.80$]"),
        (1.897e15, 4.191e15, r"[$1.9 \cdot 10^{15}$, $4.2 \cdot 10^{15}$]"),
        (0.05651, 0.05904, "[$0.0565$, $0.0590$]"),
        (2.668776e10, math.inf, r"[$2.669 \cdot 10^{10}$, $\infty$]"),
        (1e308, 1.7e308, r"[$1.00 \cdot 10^{308}$, $1.70 \cdot 10^{308}$]"),
        (1.5, 1.5, "[$1.500$, $1.500$]"),
        (-0.0003, 0.0009, r"[$-3.0 \cdot 10^{-4}$, $9.0 \cdot 10^{-4}$]"),
    ],
)
def test_latex_has_two_significant_digits_of_the_interval(low, high, written):
    from scalesweep.interval import Interval
    from scalesweep.report.pages.tables import latex_interval

    assert latex_interval(Interval(low, high)) == written
