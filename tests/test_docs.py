"""The documents: links lead somewhere, commands compose, and the table of settings is that of the code."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from scalesweep.cli import NAMES, load_command
from scalesweep.settings.compose import compose_settings, config_dir
from scalesweep.sweep.subject import is_of_table

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *ROOT.glob("CONTRIBUTING.md"), *sorted((ROOT / "docs").rglob("*.md"))]
PLACEHOLDER = re.compile(r"\.\.\.|\b[A-Z]{3,}\b(?!=)")
"""What stands for the reader's own words: DIR, OPTION, ..."""


def links_of(text: str) -> list[str]:
    """Targets of Markdown links and pictures outside code blocks."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors_of(text: str) -> set[str]:
    """Anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands_of(text: str) -> list[list[str]]:
    """The arguments of every `scalesweep ...` in code blocks and code spans, without those that hold a placeholder."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    blocks += re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"`(scalesweep [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    found = []
    for line in [*lines, *(" ".join(span.split()) for span in spans)]:
        match = re.search(rf"(?:^|\s)scalesweep ((?:{'|'.join(NAMES)})\b.*)$", line.strip())
        if match and not PLACEHOLDER.search(match[1]):
            words = shlex.split(match[1], comments=True)
            found.append(words[: words.index(">")] if ">" in words else words)  # the shell's redirection is none of its words
    return found


def compose_command(name: str, words: list[str]) -> None:
    """Raise what the command would raise for its overrides."""
    if name == "train":
        first = "--multirun" in words  # of each list of values
        overrides = [word.split(",")[0] if first else word for word in words if "=" in word]
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            compose("cell", overrides=overrides)
    elif words:  # without any, a page speaks of the command
        chosen = load_command(name)
        given = chosen.read(words)
        if chosen.num_words is None:
            compose_settings([w for w in given.words if "=" in w and not w.startswith("points=") and not is_of_table(w)])


EXAMPLES = sorted({shlex.join(words) for page in PAGES for words in commands_of(page.read_text(encoding="utf-8"))})


PAGES_OF_CODE = [("configuration", "render"), ("commands", "render_commands"), ("warnings", "render_warnings")]


@pytest.mark.parametrize(("name", "function"), PAGES_OF_CODE)
def test_page_is_the_code_s(name: str, function: str) -> None:
    render = runpy.run_path(str(ROOT / "scripts" / "make_docs.py"))[function]
    page = ROOT / "docs" / f"{name}.md"
    assert page.read_text(encoding="utf-8") == render(), f"docs/{name}.md is stale; run: python scripts/make_docs.py"


def broken_links(page: Path) -> list[str]:
    """What is wrong with the relative links of a page, one line each."""
    targets = [link for link in links_of(page.read_text(encoding="utf-8")) if "://" not in link]
    found = []
    for path, _, anchor in (target.partition("#") for target in targets):
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists():
            found.append(f"{page.name}: {path} is not there")
        elif not linked.is_relative_to(ROOT):
            found.append(f"{page.name}: {path} is outside of the repository")
        elif anchor and anchor not in anchors_of(linked.read_text(encoding="utf-8")):
            found.append(f"{page.name}: {path} has no heading #{anchor}")
    return found


def test_relative_links_lead_somewhere() -> None:
    assert not [line for page in PAGES for line in broken_links(page)]


def test_shown_commands_compose() -> None:
    refused = []
    for example in EXAMPLES:
        name, *words = shlex.split(example)
        try:
            compose_command(name, words)
        except (Exception, SystemExit) as error:
            refused.append(f"{example}: {error!r}")
    assert not refused


def test_examples_were_found() -> None:
    assert {example.split()[0] for example in EXAMPLES} == set(NAMES)


def test_readme_fits_its_limit() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
