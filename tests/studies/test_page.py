"""The scorecard: what is in a result is on the page, text is text, nothing comes from a network, bars keep proportion."""

import json
import math
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from study_results import HOSTILE, lines, made, results

from scalesweep.errors import StoreError
from scalesweep.studies.base import Effect
from scalesweep.studies.page import write_scorecard
from scalesweep.studies.page.bar import Bar, bar_of
from scalesweep.studies.page.pictures import panel_pictures, thumbnail, title_html
from scalesweep.studies.words import MARKS

COMMAND = 'scalesweep study all "a<b"'


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "new" / "scorecard.html"
    write_scorecard(results(), path, COMMAND)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(page: str) -> str:
    """The page without markup, in which white space does not matter."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))).split())


class _Tags(HTMLParser):
    """Tags with their attributes, and whether every one that was opened is closed."""

    VOID = ("meta", "link", "img", "source", "br", "rect", "line", "circle")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


def test_every_number_of_every_part_is_there_in_full_with_its_path(page: str) -> None:
    shown = {tag["data-path"]: float(str(tag["value"])) for tag in _Tags(page).all("data")}
    for result in results():
        for i, part in enumerate(json.loads(json.dumps(result.to_dict()))["parts"]):
            for field in ("effect", "low", "high"):
                path = f"{result.name}.parts.{i}.{field}"
                assert shown.get(path) == part[field], path


def test_thresholds_words_reasons_and_sentences_are_there(text: str) -> None:
    assert {result.word for result in results()} == set(MARKS)
    for result in results():
        content = result.to_dict()
        said = [content["statement"], content["counter"], content["sentence"], *content["notes"]]
        for part in content["parts"]:
            said += [part["asks"], part["reason"], part["says"], f"{MARKS[part['verdict']]} {part['verdict']}"]
        for control in content["controls"]:
            said += [f"{control['name']}: {control['asks']}", "passed" if control["passed"] else "failed"]
        for sentence in said:
            assert " ".join(sentence.split()) in text
    for threshold in ("≤ 0 contradicted", "≥ 0.1 supported", "≥ 2.5 contradicted", "≤ 2 supported", "≥ 1.2 supported"):
        assert threshold in text


def test_one_row_a_claim_leads_to_the_study_in_full(page: str) -> None:
    tags = _Tags(page)
    assert tags.open == []
    claims = re.findall(r'<li class="claim">.*?</li>', page, re.DOTALL)
    assert [re.findall(r'href="#(\w+)"', claim)[0] for claim in claims] == [result.name for result in results()]
    identities = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
    assert len(set(identities)) == len(identities)
    targets = [str(link["href"]) for link in tags.all("a")]
    assert {target.removeprefix("#") for target in targets} <= {*identities, "top"}


def test_tables_operating_characteristics_and_origin_are_there(text: str) -> None:
    for shown in (
        "Tokens to a loss",
        "312346",
        "1.5%",
        "79.0%",
        "37.5%",
        "cost.device",
        "cpu",
        "9f2c61d07be3aa10",
        "sweep=demo",
    ):
        assert shown in text
    assert "61: 0000000000000000" in text
    assert "sealed" not in text  # null says nothing
    assert not re.search(r"\bnan\b", text)
    assert "0.46%" in text
    assert COMMAND in text


def test_text_of_a_result_is_never_markup(page: str) -> None:
    assert HOSTILE not in page
    assert "<script" not in page
    assert "<b>bold</b>" not in page
    assert page.count("&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;") >= 3
    assert title_html('<i>x</i> <img src="y"> <sup onclick="z">') == (
        "<i>x</i> &lt;img src=&#34;y&#34;&gt; &lt;sup onclick=&#34;z&#34;&gt;"
    )


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    tags = _Tags(page)
    loaded = [value for _, tag in tags.found for name in ("src", "srcset") if (value := tag.get(name))]
    assert loaded and all(value.startswith("data:image/svg+xml;base64,") for value in loaded)
    assert [link["href"] for link in tags.all("link")] == ["data:,"]
    assert "default-src 'none'" in str(tags.all("meta")[1]["content"])
    assert not re.search(r"https?://|url\(|@import", page)


def test_figures_are_vectors_for_both_backgrounds_with_words_for_those_who_do_not_see_them() -> None:
    for image in (thumbnail(lines()), *(picture.image for picture in panel_pictures(lines()))):
        tags = _Tags(str(image))
        (dark,), (light,) = tags.all("source"), tags.all("img")
        assert dark["media"] == "(prefers-color-scheme: dark)"
        assert dark["srcset"] != light["src"]
        assert light["alt"] == lines().caption
    titles = [picture.title for picture in panel_pictures(lines())]
    assert titles == ["Loss by training tokens", "Tokens for a loss of 3.2, as N<sup>−s</sup>"]


def test_a_page_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="name another place"):
        write_scorecard(results()[:1], tmp_path / "file" / "scorecard.html", COMMAND)


def bar(value: float, low: float, high: float, **changes: Any) -> Bar:
    found = bar_of(made("bar", Effect(value, low, high), **changes).parts[0])
    assert found is not None
    return found


@pytest.mark.parametrize(
    "effect", [(0.3, 0.2, 0.4), (-50.0, -60.0, -40.0), (0.05, 0.04, 0.06), (0.05, -9.0, 9.0), (0.1, 0.1, 0.1)]
)
def test_a_bar_keeps_order_and_proportion_and_shows_both_zones(effect: tuple[float, float, float]) -> None:
    found = bar(*effect)
    left, right = found.zones
    assert (left.word, right.word) == ("contradicted", "supported")
    assert left.end >= 24.99 and right.start <= 75.01
    assert 0 <= found.low <= found.value <= found.high <= 100
    scale = (right.start - left.end) / 0.1  # between the thresholds 0 and 0.1
    for value, at in zip(effect, (found.value, found.low, found.high), strict=True):
        assert at == pytest.approx(left.end + scale * value)


def test_a_bar_of_a_claim_for_small_effects_is_mirrored() -> None:
    left, right = bar(4.76, 3.31, 6.2, claims="at most", at=(2.0, 2.5)).zones
    assert (left.word, left.text, right.word, right.text) == ("supported", "≤ 2", "contradicted", "≥ 2.5")


def test_an_open_end_reaches_the_edge() -> None:
    found = bar(0.3, 0.2, math.inf)
    assert (found.high, found.is_high_open, found.is_low_open) == (100.0, True, False)
    unbounded = bar(math.inf, math.inf, math.inf)
    assert unbounded.value == 100.0


def test_thresholds_that_are_one_number_have_a_bar() -> None:
    found = bar(0.0, 0.0, 0.0, at=(0.0, 0.0))
    assert (found.zones[0].end, found.value, found.zones[1].start) == (25.0, 25.0, 25.0)


@pytest.mark.parametrize("effect", [Effect.missing("no arm"), Effect(0.3, math.nan, math.nan)])
def test_there_is_no_bar_without_an_interval(effect: Effect) -> None:
    assert bar_of(made("none", effect).parts[0]) is None
    assert bar_of(made("number", Effect(0.3, 0.2, 0.4), at=(None, None)).parts[0]) is None
