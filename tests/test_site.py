"""The site: it builds without a warning, holds every page, and asks no other host for anything."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
LOADED = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?([^\"'\s>]+)")
"""What a browser fetches by itself, other than what a link leads to."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)]  # --quiet hides warnings
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return directory


def test_every_page_of_the_repository_is_on_the_site(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.stem for path in site.glob("*.html")}


def test_the_site_loads_nothing_from_other_hosts(site: Path) -> None:
    loaded = {target for page in site.rglob("*.html") for target in LOADED.findall(page.read_text(encoding="utf-8"))}
    assert any(target.endswith(".js") for target in loaded), "the pattern finds nothing"
    assert [target for target in loaded if "//" in target] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", styles)


def test_the_api_page_shows_signatures_and_docstrings(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    named = re.findall(r"^::: (.+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    missing = [name for name in named if f'id="{name}"' not in page]
    assert len(named) > 5
    assert missing == []


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("see [store.py](../src/scalesweep/run/store/store.py).", "see `src/scalesweep/run/store/store.py`."),
        ("[rules](../README.md#nouns)", "`README.md`"),
        ("[runs](runs.md) and [x](https://example.org/../y)", "[runs](runs.md) and [x](https://example.org/../y)"),
        ("```md\n[a](../b.py)\n```\n", "```md\n[a](../b.py)\n```\n"),
    ],
)
def test_links_out_of_the_pages_become_paths(markdown: str, shown: str) -> None:
    hook = runpy.run_path(str(ROOT / "scripts" / "mkdocs_hooks.py"))["on_page_markdown"]
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))
    assert hook(markdown, page=page, config=None, files=None) == shown
