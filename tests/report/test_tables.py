"""One table, written for a terminal, Markdown, HTML and CSV."""

import csv
import math

from scalesweep.interval import Interval
from scalesweep.report.tables import (
    Label,
    Table,
    cell,
    from_records,
    interval_parts,
    percent,
    write_csv,
    write_html,
    write_markdown,
    write_plain,
)

LOSS = cell(2.0123456, "{:.2f}".format, "laws.joint.loss")
TABLE = Table(
    ("what", ("at ", cell(1e20, path="at.0"))),
    (("a<b|c", LOSS), ("second\nline", cell(math.nan)), (Label("not measured"), cell(0.5, percent(0)))),
    "A caption",
    ("text", "number"),
)


def test_a_terminal_shows_aligned_columns_below_the_caption():
    table = Table(("form", "error"), (("additive", cell(0.5, percent())), ("x", cell(math.inf))), "Forms", ("text", "number"))
    assert write_plain(table).splitlines() == ["Forms", "  form       error", "  additive  50.00%", "  x              –"]


def test_markdown_interprets_nothing():
    lines = write_markdown(TABLE).splitlines()
    assert lines[:4] == ["A caption", "", "| what | at 1e20 |", "| --- | --- |"]
    assert lines[4:] == ["| a\\<b\\|c | 2.01 |", "| second line | – |", "| not measured | 50% |"]
    assert write_markdown(from_records([])) == ""


def test_html_traces_numbers_to_the_file_and_escapes_the_rest():
    text = write_html(TABLE)
    assert (
        '<td class="number" data-label="at 1e20"><data value="2.0123456" data-path="laws.joint.loss">2.01</data></td>' in text
    )
    assert 'at <data value="1e+20" data-path="at.0">1·10<sup>20</sup></data>' in text
    assert '<td class="text" data-label="what">a&lt;b|c</td>' in text
    assert "second<br>line" in text
    assert '<span class="status not-measured">not measured</span>' in text
    assert '<td class="number" data-v="0.5" data-label="at 1e20">50%</td>' in text


def test_a_sortable_table_marks_the_columns_behind_the_leading_ones():
    text = write_html(from_records([{"n": 1, "note": "x"}, {"n": 20, "seed": 3}]), leading=1)
    assert '<th class="number"><button type="button">n</button></th><th class="text more">' in text
    assert '<td class="number" data-v="20">20</td><td class="text more"></td><td class="number more" data-v="3">3</td>' in text


def test_csv_holds_full_precision():
    table = Table(("name", "value", "low"), (("a, b", LOSS, None), ("c", 1 / 3, 7)))
    assert list(csv.reader(write_csv(table).splitlines())) == [
        ["name", "value", "low"],
        ["a, b", "2.0123456", ""],
        ["c", repr(1 / 3), "7"],
    ]


def test_an_interval_says_which_end_is_open_or_infinite():
    def text(found):
        return "".join(part if isinstance(part, str) else part.text for part in interval_parts(found, "e"))

    assert text(Interval(0.5, math.inf)) == "[0.5, ∞]"
    assert text(Interval(0.5, 2.0, is_low_open=True)) == "[open, 2]"
    assert text(None) == "–"
    assert [part.path for part in interval_parts(Interval(1, 2), "e") if not isinstance(part, str)] == ["e.low", "e.high"]
