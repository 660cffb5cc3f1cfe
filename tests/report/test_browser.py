"""The report in a real browser: nothing on its console, nothing loaded beside it, nothing wider than the screen.

Chromium is driven over its DevTools pipe: JSON messages that end in a zero byte, commands on descriptor 3, answers and events
on descriptor 4 (https://chromedevtools.github.io/devtools-protocol).
"""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_results import results

from scalesweep.analysis.analyse import analyse
from scalesweep.laws import Chinchilla
from scalesweep.points.points import points_from_rows
from scalesweep.report import ReportContext, write_report
from scalesweep.report.charts import canvas
from scalesweep.settings.fit import FitSpec
from scalesweep.studies.page import write_scorecard

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync")
QUIET = ("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe")
SECONDS = 60.0
WIDTHS = (420, 1280)
DRAWN = """new Promise(done => {
  if (!document.querySelector("figure[data-chart]")) done();
  const look = () => (document.body.dataset.drawn === "all" ? done() : setTimeout(look, 20));
  look();
})"""
LAW = Chinchilla(E=1.9, A=120, B=300, alpha=0.32, beta=0.35)


@dataclass(frozen=True)
class Visit:
    """What a page did in the browser."""

    complaints: list[str]
    """Console messages, uncaught exceptions and failed requests."""
    requests: list[str]
    """Addresses that were asked for, in order, data: addresses left out."""
    width: int
    """Width of the window in CSS pixels, which tells that the browser took the width it was given."""
    overflow: int
    """CSS pixels by which the content is wider than the window."""
    answers: tuple[Any, ...] = ()
    """What the actions gave."""


class Browser:
    """A headless Chromium."""

    def __init__(self, executable: str, profile: Path) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        join = 'exec "${@:3}" 3<&"$1" 4>&"$2"'  # the descriptors where Chromium expects them
        command = [executable, *FLAGS, *QUIET, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", join, "bash", str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = ours_out, ours_in
        self._buffer = b""
        self._last = 0
        self._events: list[dict[str, Any]] = []

    def close(self) -> None:
        """End the browser."""
        try:
            self._command("Browser.close")
            self._process.wait(SECONDS)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def visit(self, page: Path, width: int, scheme: str = "light", actions: Sequence[str] = (), media: str = "") -> Visit:
        """Open a file in a new tab of this width, wait until it is loaded, drawn and painted, then evaluate the actions.

        With media "print" it is laid out for paper once it is drawn, as before it is printed.
        """
        target = self._command("Target.createTarget", url="about:blank")["targetId"]
        tab = self._command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self._command(f"{domain}.enable", tab)
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._command("Emulation.setDeviceMetricsOverride", tab, **screen)
        preference = {"name": "prefers-color-scheme", "value": scheme}
        self._command("Emulation.setEmulatedMedia", tab, features=[preference])
        self._events.clear()
        self._command("Page.navigate", tab, url=page.as_uri())
        while ("Page.loadEventFired", tab) not in [(event["method"], event.get("sessionId")) for event in self._events]:
            self._events.append(self._receive(time.monotonic() + SECONDS))
        painted = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        self._evaluate(tab, DRAWN)
        self._evaluate(tab, painted)
        if media:
            self._command("Emulation.setEmulatedMedia", tab, media=media, features=[preference])
            self._evaluate(tab, f"dispatchEvent(new Event('beforeprint')); {painted}")
        answers = tuple(self._evaluate(tab, action) for action in actions)
        size = self._evaluate(tab, "[innerWidth, document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        events = [event for event in self._events if event.get("sessionId") == tab]
        self._command("Target.closeTarget", targetId=target)
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return Visit(
            [text for event in events if (text := _complaint(event))],
            [url for url in asked if not url.startswith("data:")],
            size[0],
            size[1] - size[2],
            answers,
        )

    def _evaluate(self, tab: str, expression: str) -> Any:
        answer = self._command("Runtime.evaluate", tab, expression=expression, awaitPromise=True, returnByValue=True)
        return answer["result"].get("value")

    def _command(self, method: str, tab: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of a command; events that arrive before it are kept."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params, **({"sessionId": tab} if tab else {})}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while (answer := self._receive(deadline)).get("id") != self._last:
            self._events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium did not answer within {SECONDS:.0f} seconds")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise OSError(f"Chromium ended with status {self._process.wait(SECONDS)}")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


def _complaint(event: dict[str, Any]) -> str:
    """What an event says against the page; empty where it says nothing."""
    params = event.get("params", {})
    match event["method"]:
        case "Runtime.consoleAPICalled":
            return f"console.{params['type']}: {[item.get('value') for item in params['args']]}"
        case "Runtime.exceptionThrown":
            return f"exception: {params['exceptionDetails'].get('exception', params['exceptionDetails'])}"
        case "Log.entryAdded":
            return f"log: {params['entry']['level']} {params['entry']['text']}"
        case "Network.loadingFailed":
            return f"failed request: {params['errorText']}"
        case "Network.responseReceived" if params["response"]["status"] >= 400:
            return f"failed request: status {params['response']['status']} of {params['response']['url']}"
    return ""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: none of chromium, chromium-browser and google-chrome is on the PATH")
    running = Browser(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every section: joint law, curves, rivals, back-test, cells, an excluded row, warnings, long words."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for n in (1e4, 3e4, 1e5, 3e5, 1e6):
        for d in (1e6, 3e6, 1e7, 3e7, 1e8):
            loss = float(LAW.predict(n, d) * np.exp(0.003 * rng.standard_normal()))
            rows.append({"key": f"{n:.0f}-{d:.0f}", "n": n, "d": d, "c": 6 * n * d, "loss": loss, "loss_se": 0.01})
    reason = "diverged: last finite training loss 11.25"
    rows.append({"key": "lost", "n": 1e6, "d": 1e8, "c": 6e14, "loss": float("nan"), "excluded_reason": reason})
    points = points_from_rows(rows, "with_head", "attention", "synthetic points")
    context = ReportContext(
        title="A report with a title that does not fit on one line of a narrow screen",
        curves={row["key"]: [(row["d"] * share, 2.0 + 3.0 * share**-0.2) for share in (0.01, 0.1, 1.0)] for row in rows},
        cells=[{**row, "width": 64, "depth": 2, "state": "COMPLETE", "seconds": 12.5, "epochs": 0.01} for row in rows[:-1]],
        provenance={"corpus": "python-code-8MB-bpe512", "hash": "0123456789abcdef" * 8},
        warnings=["The largest budget is more than one epoch of the corpus."],
        command=f"scalesweep report runs/{'a-long-name-' * 12}",
    )
    return write_report(tmp_path_factory.mktemp("report"), analyse(points, FitSpec(bootstrap=50)), context)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_report_is_silent_complete_and_fits_the_screen(browser: Browser, report: Path, width: int, scheme: str) -> None:
    visit = browser.visit(report, width, scheme)
    assert visit.complaints == []
    assert visit.requests == [report.as_uri()]
    assert visit.width == width
    assert visit.overflow == 0


IN_VIEW = """[...document.querySelectorAll(SELECTOR)].filter(part => part.getBoundingClientRect().HOW < 900).length"""


def in_view(selector: str, how: str) -> str:
    """How many of these begin (top) or end (bottom) on the first screen."""
    return IN_VIEW.replace("SELECTOR", repr(selector)).replace("HOW", how)


def test_the_first_screen_has_verdict_picture_and_answers(browser: Browser, report: Path) -> None:
    actions = [in_view(selector, "bottom") for selector in (".facts", ".verdict", "#figure-frontier .plot", ".answer")]
    wide, narrow = (browser.visit(report, width, actions=actions).answers for width in (1280, 420))
    assert wide == (1, 1, 1, 3)
    assert narrow[:3] == (1, 1, 1)


def test_nothing_is_too_wide_for_a_phone_with_everything_unfolded_and_tables_are_cards(browser: Browser, report: Path) -> None:
    heads = "[...document.querySelectorAll('table.cards thead')].filter(head => head.getBoundingClientRect().height).length"
    label = "getComputedStyle(document.querySelector('#reviewer-s-checklist td[data-label]'), '::before').content"
    visit = browser.visit(report, 420, actions=[OPENED, heads, label])
    assert visit.overflow == 0
    assert visit.answers[1] == 0
    assert visit.answers[2].startswith('"')


def test_a_link_to_what_is_folded_opens_it(browser: Browser, report: Path) -> None:
    state = "['cells', 'provenance'].map(name => document.getElementById(name).open)"
    turned = "new Promise(done => setTimeout(done, 50))"
    link = "document.querySelector('nav a[href=\"#provenance\"]').click()"
    shut = "document.getElementById('provenance').open = false"
    actions = [state, "location.hash = 'cells'", turned, state, link, turned, state, shut, link, turned, state]
    found = browser.visit(report, 1280, actions=actions).answers
    assert [found[i] for i in (0, 3, 6, 10)] == [[False, False], [True, False], [True, True], [True, True]]


PAPER = 690
"""Width of A4 between its margins, in pixels of a ninety-sixth of an inch."""
OUTSIDE = """[...document.querySelectorAll('.plot')].filter(plot => plot.getBoundingClientRect().height).filter(plot => {
  const box = plot.closest('.panel').getBoundingClientRect();
  return [...plot.querySelectorAll('.main-svg')].some(svg => {
    const own = svg.getBoundingClientRect();
    return own.left < box.left - 1 || own.right > box.right + 1 || own.bottom > box.bottom + 1 || own.height < 50;
  });
}).map(plot => plot.closest('figure').id)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_every_figure_is_whole_and_light(browser: Browser, report: Path, scheme: str) -> None:
    """Drawn for a wide screen, as it is when somebody prints, then laid out on the width of a sheet."""
    shown = "[...document.querySelectorAll('.plot .main-svg')].filter(svg => svg.getBoundingClientRect().width).length"
    colour = "document.querySelector('#figure-frontier .plot').data.filter(t => t.mode === 'lines' && !t.fill)[0].line.color"
    page = f"document.body.style.width = '{PAPER}px'; getComputedStyle(document.body).backgroundColor"
    seen = [page, OUTSIDE, shown, colour, "getComputedStyle(document.querySelector('nav')).display"]
    back, outside, drawings, line, nav = browser.visit(report, 1280, scheme, seen, media="print").answers
    assert back == "rgb(255, 255, 255)"
    assert outside == []
    assert drawings >= 3 * 12
    assert (line, nav) == (canvas.LIGHT.roles["fit"], "none")


@pytest.fixture(scope="module")
def scorecard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One claim of each word."""
    path = tmp_path_factory.mktemp("scorecard") / "scorecard.html"
    write_scorecard(results(), path, f"scalesweep study all dir=runs/{'a-long-name-' * 12}")
    return path


EVERY_IMAGE = "[...document.images].map(image => image.naturalWidth)"
OPENED = "document.querySelectorAll('details').forEach(part => { part.open = true; })"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_scorecard_is_silent_complete_and_fits_the_screen(browser: Browser, scorecard: Path, width: int, scheme: str) -> None:
    """With the collapsed tables open too."""
    visit = browser.visit(scorecard, width, scheme, [OPENED, EVERY_IMAGE])
    assert visit.complaints == []
    assert visit.requests == [scorecard.as_uri()]
    assert (visit.width, visit.overflow) == (width, 0)
    assert min(visit.answers[1]) > 0


def test_scorecard_shows_the_drawing_of_its_background(browser: Browser, scorecard: Path) -> None:
    shown = "document.images[0].currentSrc === document.images[0].src"
    assert browser.visit(scorecard, 1280, "light", [shown]).answers == (True,)
    assert browser.visit(scorecard, 1280, "dark", [shown]).answers == (False,)


EVERY_PANEL = "[...document.querySelectorAll('.plot')].map(plot => plot.querySelectorAll('.main-svg .trace').length)"
WIDER_THAN_ITS_PANEL = """[...document.querySelectorAll('.plot')].filter(plot => {
  const box = plot.getBoundingClientRect();
  return [...plot.querySelectorAll('text')].some(text => {
    const own = text.getBoundingClientRect();
    return own.width && (own.left < box.left - 1 || own.right > box.right + 1);
  });
}).map(plot => plot.closest('figure').id)"""


@pytest.mark.parametrize("width", WIDTHS)
def test_every_panel_holds_its_series_and_no_label_leaves_it(browser: Browser, report: Path, width: int) -> None:
    drawn, wider = browser.visit(report, width, actions=[EVERY_PANEL, WIDER_THAN_ITS_PANEL]).answers
    assert len(drawn) >= 20
    assert min(drawn) >= 1
    assert wider == []


def test_a_series_is_hidden_and_shown_by_its_button_in_every_panel(browser: Browser, report: Path) -> None:
    button = "document.querySelector('#figure-optima .legend button')"
    shown = """[...document.querySelectorAll('#figure-optima .plot')].map(
      plot => plot.data.filter(t => t.meta === 'isoflop').map(t => t.visible !== false))"""
    pressed = f"{button}.getAttribute('aria-pressed')"
    actions = [f"{button}.textContent", shown, f"{button}.click()", shown, pressed, f"{button}.click()", shown]
    name, before, _, hidden, state, _, after = browser.visit(report, 1280, actions=actions).answers
    assert name == "IsoFLOP minima"
    assert len(before) == 2
    assert all(map(all, before)) and all(map(len, before))
    assert not any(map(any, hidden))
    assert state == "false"
    assert after == before


def test_the_table_of_cells_is_sorted_and_filtered(browser: Browser, report: Path) -> None:
    table = "document.querySelector('table.sortable')"
    heading = f"[...{table}.tHead.rows[0].cells].find(cell => cell.textContent === 'loss ± se')"
    column = f"[...{table}.tBodies[0].rows].map(row => Number(row.cells[{heading}.cellIndex].dataset.v))"
    click = f"{heading}.querySelector('button').click()"
    field = f"{table}.closest('section').querySelector('input')"
    fill = f"{field}.value = '300000-'; {field}.dispatchEvent(new Event('input'))"
    visible = f"[...{table}.tBodies[0].rows].filter(row => !row.hidden).length"
    said = f"{table}.closest('section').querySelector('output').textContent"
    actions = [column, click, column, click, column, fill, visible, said]
    first, _, rising, _, falling, _, rows, words = browser.visit(report, 1280, actions=actions).answers
    assert rising == sorted(first) != first
    assert falling == rising[::-1]
    assert (rows, words) == (5, "5 of 25 rows")


def test_labels_lie_flat_and_those_of_a_scale_stay_beside_its_title(browser: Browser, report: Path) -> None:
    angles = "[...document.querySelectorAll('.plot')].map(plot => plot._fullLayout.xaxis.tickangle)"
    touching = """[...document.querySelectorAll('.scale')].filter(scale => {
      const labels = [...scale.querySelectorAll("span")].map(part => part.getBoundingClientRect());
      const bar = scale.querySelector('i').getBoundingClientRect();
      return labels.some((l, i) => l.left < bar.left - 1 || l.right > bar.right + 1 || (i && l.left <= labels[i - 1].right));
    }).map(scale => scale.textContent)"""
    for width in WIDTHS:
        flat, found = browser.visit(report, width, actions=[angles, touching]).answers
        assert set(flat) == {0}
        assert found == []


def test_the_filter_finds_a_size_as_it_is_shown_and_in_full(browser: Browser, report: Path) -> None:
    field = "document.querySelector('table.sortable').closest('section').querySelector('input')"
    fill = [f"{field}.value = '{size}'; {field}.dispatchEvent(new Event('input'))" for size in ("300k", "300000.0")]
    shown = "[...document.querySelectorAll('table.sortable tbody tr')].filter(row => !row.hidden).map(row => row.textContent)"
    _, short, _, full = browser.visit(report, 1280, actions=[fill[0], shown, fill[1], shown]).answers
    assert short == full
    assert len(short) == 5


def test_columns_beside_the_leading_ones_show_by_a_switch_and_the_key_stays(browser: Browser, report: Path) -> None:
    heads = """[...document.querySelectorAll('table.sortable th')].filter(cell => cell.getBoundingClientRect().width)
      .map(cell => cell.textContent)"""
    switch = "document.querySelector('.filter [type=checkbox]').click()"
    box, first = "document.querySelector('table.sortable').parentElement", "document.querySelector('table.sortable td')"
    moved = f"{box}.scrollLeft = 9999; {box}.scrollLeft > 0 && {first}.getBoundingClientRect().left - {box}.offsetLeft"
    before, _, after, left = browser.visit(report, 420, actions=[heads, switch, heads, moved]).answers
    assert before == ["key", "N", "D", "C", "D/N", "loss ± se", "fitted loss", "residual", "used"]
    assert after == [*before, "width", "depth", "state", "seconds", "epochs"]
    assert left is not False and 0 <= left < 5


def test_colours_follow_the_screen(browser: Browser, report: Path) -> None:
    line = "document.querySelector('#figure-power_laws .plot').data.at(-1).line.color"
    light, dark = (browser.visit(report, 420, scheme, [line]).answers[0] for scheme in ("light", "dark"))
    assert (light, dark) == (canvas.LIGHT.roles["fit"], canvas.DARK.roles["fit"])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<script>console.error('deliberate')</script>", "console.error: ['deliberate']"),
        ("<script>console.log('deliberate')</script>", "console.log: ['deliberate']"),
        ("<script>undefinedFunction()</script>", "undefinedFunction is not defined"),
        ("<img src='missing.png'>", "failed request: net::ERR_FILE_NOT_FOUND"),
    ],
)
def test_a_faulty_page_is_caught(browser: Browser, tmp_path: Path, body: str, expected: str) -> None:
    page = tmp_path / "faulty.html"
    page.write_text(f"<!doctype html><title>faulty</title>{body}", encoding="utf-8")
    complaints = browser.visit(page, 420).complaints
    assert any(expected in complaint for complaint in complaints), complaints


def test_a_page_that_is_too_wide_is_caught(browser: Browser, report: Path, tmp_path: Path) -> None:
    wide = "<p style='width: 500px'>wide</p>"
    page = tmp_path / "wide.html"
    page.write_text(report.read_text(encoding="utf-8").replace("<main>", f"<main>{wide}"), encoding="utf-8")
    assert browser.visit(page, 420).overflow > 0
    assert browser.visit(page, 1280).overflow == 0
