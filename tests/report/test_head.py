"""The first screen in words: three states, answers with the numbers of the law, and nothing that a warning contradicts."""

import math
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from surfaces import measure

from scalesweep.analysis.analyse import Analysis, analyse
from scalesweep.analysis.forecast.dated import Forecast
from scalesweep.fit.estimates import Estimate
from scalesweep.interval import Interval
from scalesweep.laws import Chinchilla
from scalesweep.points.points import Points, points_from_rows
from scalesweep.report import ReportContext
from scalesweep.report.charts.chart import Chart
from scalesweep.report.context import Facts
from scalesweep.report.figures import all_figures, figures
from scalesweep.report.figures.material import Material
from scalesweep.report.pages.html import render_html
from scalesweep.report.pages.markdown import render_markdown
from scalesweep.report.review.checklist import reviewed
from scalesweep.report.review.head import QUESTIONS, facts_words, head_of, told, told_count
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_rough, format_within

LAW = Chinchilla(E=1.9, A=120, B=300, alpha=0.32, beta=0.35)
QUICK = FitSpec(bootstrap=50)
CONTEXT = ReportContext("points", {}, [], {"reported on": "2026-11-29"}, [], "scalesweep report points.csv")


def grid(**columns: Any) -> Points:
    rng = np.random.default_rng(0)
    rows = []
    for n in np.geomspace(1e5, 1e8, 7):
        for d in np.geomspace(1e6, 1e9, 7):
            rows.append({"n": n, "d": d, "c": 6 * n * d, "loss": float(LAW.predict(n, d) * np.exp(0.001 * rng.normal()))})
    return points_from_rows([{**row, **columns} for row in rows], "total", "six_n", "grid.csv")


@pytest.fixture(scope="module")
def clear() -> Analysis:
    return analyse(grid(bytes_per_token=4.0), QUICK)


@pytest.fixture(scope="module")
def refused() -> Analysis:
    n = np.geomspace(1e6, 1e8, 8)
    return analyse(measure(LAW, n, 20 * n, 0.001, 0), QUICK)


@pytest.fixture(scope="module")
def pages(clear: Analysis, refused: Analysis) -> dict[str, tuple[str, str]]:
    def both(analysis: Analysis) -> tuple[str, str]:
        found, drawn = reviewed(analysis, CONTEXT), all_figures(Material(analysis.points, analysis))
        return render_html(analysis, CONTEXT, found, drawn), render_markdown(analysis, CONTEXT, found, drawn)

    return {"clear": both(clear), "refused": both(refused)}


def test_an_identified_law_of_one_recipe_stands_in_symbols_with_three_answers(clear: Analysis) -> None:
    head = head_of(clear)
    assert (head.state, head.shows_law, head.remedy) == ("clear", True, "")
    assert tuple(answer.question for answer in head.answers) == QUESTIONS
    doubling, best, loss = (" ".join(answer.sentences) for answer in head.answers)
    found = clear.ahead.doubling
    assert told(found.by_n) in doubling and told(found.by_d) in doubling  # type: ignore[union-attr]
    reach = f"At {format_rough(clear.support.reach)} times that, the farthest supported"
    assert reach in best and reach in loss
    made = clear.ahead.best[0].loss
    assert isinstance(made, Forecast) and made.honest is not None
    assert told(Estimate(made.honest.value, made.honest.interval)) in loss


def test_doubling_takes_off_what_the_law_says(clear: Analysis) -> None:
    found = clear.ahead.doubling
    n, d = found.n, found.d  # type: ignore[union-attr]
    by_n, by_d = LAW.predict(n, d) - LAW.predict(2 * n, d), LAW.predict(n, d) - LAW.predict(n, 2 * d)
    best = [float(LAW.predict(LAW.n_opt(c), LAW.d_opt(c))) for c in (6 * n * d, 12 * n * d)]
    for gain, truth in ((found.by_n, by_n), (found.by_d, by_d), (found.by_c, best[0] - best[1])):  # type: ignore[union-attr]
        assert gain.value == pytest.approx(float(truth), rel=0.05)
        assert gain.low <= gain.value <= gain.high


def test_bits_per_byte_stand_beside_nats_where_the_bytes_of_a_token_are_known(clear: Analysis) -> None:
    loss = clear.ahead.doubling.loss  # type: ignore[union-attr]
    said = " ".join(sentence for answer in head_of(clear).answers for sentence in answer.sentences)
    assert f"({loss / 4 / math.log(2):.3g} bits per byte)" in said
    assert said.count("bits per byte") == 3


def test_a_law_at_its_bound_is_no_headline_and_says_what_to_do() -> None:
    rng = np.random.default_rng(1)
    rows = [
        {"n": n, "d": d, "c": 6 * n * d, "loss": float(LAW.predict(n, d) * np.exp(0.02 * rng.normal()))}
        for n in (1e6, 1.5e6, 2.2e6)
        for d in (2e7, 3e7, 5e7)
    ]
    head = head_of(analyse(points_from_rows(rows, "total", "six_n", "weak.csv"), FitSpec(bootstrap=20)))
    assert (head.state, head.shows_law) == ("limited", False)
    assert "(A03)" in head.remedy and "(A02)" in head.remedy
    assert "no closer" in " ".join(head.answers[1].sentences), "E alone is at its bound, and the rest says little"


def test_where_n_and_d_are_not_told_apart_it_says_so_and_answers_for_compute(refused: Analysis) -> None:
    head = head_of(refused)
    assert (head.state, head.shows_law) == ("refused", False)
    assert head.verdict.startswith("The points do not identify the joint law L(N, D).")
    doubling, best, loss = (" ".join(answer.sentences) for answer in head.answers)
    assert "the last doubling of compute took" in doubling
    assert best == "Not known, because there is no law of both N and D."
    assert loss.startswith(
        f"At {format_rough(refused.support.reach)} times the largest measured compute, the farthest supported: "
    )
    made = refused.ahead.best[-1].loss
    assert isinstance(made, Forecast) and made.honest is not None
    assert made.supported_factor == pytest.approx(refused.support.reach, rel=1e-9)


def test_a_law_over_several_recipes_is_no_headline() -> None:
    rows = [
        {"n": n, "d": d, "c": 6 * n * d, "arch": arch, "loss": float(LAW.predict(n, d)) * factor}
        for arch, factor in (("dense", 1.0), ("<b>moe</b>", 0.95))
        for n in np.geomspace(1e5, 1e7, 5)
        for d in np.geomspace(1e6, 1e8, 5)
    ]
    points = points_from_rows(rows, "total", "six_n", "arch.csv")
    few = FitSpec(bootstrap=10)
    for analysis in (analyse(points, few), analyse(points, few, by="arch")):
        head = head_of(analysis)
        assert (head.state, head.shows_law, head.answers) == ("limited", False, ())
        assert "arch" in head.verdict
    drawn = figures()["frontier"](Material(points, analysis))
    assert isinstance(drawn, Chart)
    assert [panel.title for panel in drawn.panels] == ["dense", "&lt;b&gt;moe&lt;/b&gt;"]


def test_digits_follow_the_interval() -> None:
    assert format_within(2.41325, 0.0344) == "2.413"
    assert format_within(2.41325, 0.34) == "2.41"
    assert format_within(1234.5, 210.0) == "1230"
    assert told(Estimate(0.0796, Interval(0.0756, 0.0831))) == "0.0796 [0.0756, 0.0831]"
    assert told_count(Estimate(1.0166e10, Interval(8.13e9, 1.335e10))) == "10B [8.1B, 13B]"


def test_facts_name_text_model_sizes_day_and_device(clear: Analysis) -> None:
    facts = Facts(states={"COMPLETE": 49}, corpus="prose", model="decoder", dates=("2026-11-29",), devices=("CPU (some)",))
    said = facts_words(clear, ReportContext("t", {}, [], {}, [], "", facts=facts))
    for part in ("text prose", "model decoder", "49 runs", "N 100k to 100M", "D 1M to 1B", "measured 2026-11-29", "CPU (some)"):
        assert part in said
    assert {"reported 2026-11-29", "CPU or GPU not said by the table"} <= set(facts_words(clear, CONTEXT))


class Words(HTMLParser):
    """Counts the words that are seen before anything is unfolded."""

    def __init__(self) -> None:
        super().__init__()
        self.unseen, self.folds, self.summaries, self.num = 0, 0, 0, 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._count(tag, 1)

    def handle_endtag(self, tag: str) -> None:
        self._count(tag, -1)

    def _count(self, tag: str, step: int) -> None:
        self.unseen += step * (tag in ("script", "style", "noscript", "title"))
        self.folds += step * (tag == "details")
        self.summaries += step * (tag == "summary")

    def handle_data(self, data: str) -> None:
        if not self.unseen and (not self.folds or (self.folds == 1 and self.summaries)):
            self.num += len(data.split())


@pytest.mark.parametrize("kind", ["clear", "refused"])
def test_the_page_is_short_before_anything_is_unfolded(pages: dict[str, tuple[str, str]], kind: str) -> None:
    words = Words()
    words.feed(pages[kind][0])
    assert 200 < words.num < 2500


def test_page_and_markdown_begin_with_the_head_in_one_order(pages: dict[str, tuple[str, str]], clear: Analysis) -> None:
    head = head_of(clear)
    for text, picture, first in zip(
        pages["clear"], ('id="figure-frontier"', "figures/frontier.png"), ("<h2 id", "## "), strict=True
    ):
        places = [text.index(part) for part in (head.verdict, picture, *QUESTIONS, first)]
        assert places == sorted(places)
