"""The report: every number traces to fit.json, nothing is loaded from elsewhere, nothing is interpreted as markup."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.config import FitSpec
from scalesweep.fit import fit_laws
from scalesweep.laws import Chinchilla
from scalesweep.points import points_from_rows
from scalesweep.report import ReportContext, write_report
from scalesweep.report.figures import format_power, log_ticks

LAW = Chinchilla(E=1.9, A=120, B=300, alpha=0.32, beta=0.35)
NASTY = 'a <script>alert("1")</script> & | `b`'
VOID = {"meta", "link", "br", "img", "hr", "input"}


def make_points(sizes=(1e4, 1e5, 1e6), tokens=(1e6, 1e7, 1e8)):
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
    fit = fit_laws(points, FitSpec(bootstrap=50))
    page = write_report(tmp_path_factory.mktemp("report") / "new", points, fit, make_context(points))
    return page, fit


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
        ["fit.json", "laws.csv", "laws.tex", "report.html", "report.md"]
        + [f"figures/{name}.{kind}" for name in ("curves", "joint_fit", "power_laws") for kind in ("png", "svg")]
    )
    assert (path.parent / "figures/curves.png").read_bytes().startswith(b"\x89PNG")


def test_numbers_equal_the_json(report):
    path, fit = report
    content = json.loads((path.parent / "fit.json").read_text())
    assert content == json.loads(json.dumps(fit.to_dict()))
    numbers = parse(path).numbers
    assert len(numbers) > 30
    for where, text in numbers:
        value = content
        for key in where.split("."):
            value = value[key]
        assert float(text) == value, where
    markdown = (path.parent / "report.md").read_text(encoding="utf-8")
    assert fit.summary() in markdown


def test_page_is_offline_and_without_scripts(report):
    page = parse(report[0])
    assert "script" not in page.tags
    assert len(set(page.ids)) == len(page.ids)
    for target in page.targets:
        assert target.startswith("data:") or target.removeprefix("#") in page.ids
    assert not re.search(r"https?://|@import|url\((?!#)", report[0].read_text(encoding="utf-8"))


def test_everything_is_escaped(report):
    text = report[0].read_text(encoding="utf-8")
    assert "<script" not in text
    for where in ("<title>", "<h1>", "careful: ", "diverged ", "scalesweep report "):
        assert f"{where}a &lt;script&gt;" in text
    markdown = (report[0].parent / "report.md").read_text(encoding="utf-8")
    assert "| diverged a \\<script\\>" in markdown


def test_same_input_same_files(report, tmp_path):
    points = make_points()
    again = write_report(tmp_path, points, report[1], make_context(points))
    for name in ("fit.json", "report.html", "report.md", "figures/joint_fit.svg", "figures/power_laws.png"):
        assert (again.parent / name).read_bytes() == (report[0].parent / name).read_bytes()


def test_refused_law_and_no_curves(tmp_path):
    sizes = np.geomspace(1e5, 1e7, 8)
    rows = [{"n": n, "d": 20 * n, "c": 120 * n * n, "loss": float(LAW.predict(n, 20 * n))} for n in sizes]
    points = points_from_rows(rows, "total", "six_n", "ray.csv")
    fit = fit_laws(points, FitSpec(bootstrap=0))
    page = write_report(tmp_path, points, fit, ReportContext("ray", {}, [], {}, [], "scalesweep fit ray.csv"))
    parse(page)
    text = page.read_text(encoding="utf-8")
    assert "do not identify the joint law" in text
    assert "tokens-per-parameter ray" in text
    assert [p.stem for p in (tmp_path / "figures").glob("*.svg")] == ["power_laws"]


def test_one_size_only(tmp_path):
    points = make_points(sizes=(1e5,), tokens=tuple(np.geomspace(1e6, 1e8, 6)))
    points = replace(points, frame=points.frame[points.frame["excluded_reason"] == ""])
    page = write_report(tmp_path, points, fit_laws(points, FitSpec(bootstrap=20)), make_context(points))
    assert "only one model size" in page.read_text(encoding="utf-8")


@given(low=st.floats(1e-3, 1e24), span=st.floats(1.001, 1e12))
def test_ticks_are_inside_few_and_rising(low, span):
    high = low * span
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 12
    assert all(low * (1 - 1e-6) <= tick <= high * (1 + 1e-6) for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_powers():
    assert [format_power(v) for v in (1e18, 3e9, 2.5e-3)] == ["10¹⁸", "3·10⁹", "2.5·10⁻³"]


def test_tables_hold_the_estimates(report):
    import csv

    path, fit = report
    rows = list(csv.DictReader((path.parent / "laws.csv").read_text().splitlines()))
    assert len(rows) == sum(len(law.estimates) for law in fit.laws.values())
    for row in rows:
        estimate = fit.laws[row["law"]].estimates[row["parameter"]]
        assert float(row["value"]) == estimate.value
        assert row["low"] == ("" if estimate.low is None else repr(estimate.low))
    latex = (path.parent / "laws.tex").read_text()
    assert latex.count("\\\\") == len(rows) + 1
    assert latex.count("&") == 3 * (len(rows) + 1)
