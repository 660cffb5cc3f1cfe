"""The pictures of README.md and docs/: those of points are what today's code draws of them; what made others is said here."""

import functools
import hashlib
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from scalesweep.fit.results import Status

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "figures"
script = functools.cache(lambda: runpy.run_path(str(ROOT / "scripts" / "make_figures.py")))
NOTES: dict[str, Any] = json.loads((FIGURES / "made.json").read_text(encoding="utf-8"))
OF_RUNS = {
    "demo_curves": "scripts/demo.sh",
    "tuned_smoke": "scalesweep run sweep=smoke 'sweep.tune.recipe.lr=1e-3..6e-2:6' 'sweep.budgets=[64k,128k,256k]'",
    "transfer_completep": "scalesweep check transfer model.context=32",
    "transfer_sp": "scalesweep check transfer model.context=32 recipe=sp",
    "coordinates_completep": "scalesweep check transfer model.context=32",
    "coordinates_sp": "scalesweep check transfer model.context=32 recipe=sp",
    "scorecard": "scalesweep study all",
}
"""Pictures that need trained models, or a browser, with the command that makes them again."""
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def parts(said: Any) -> list[Any]:
    """Words and numbers of a note, the numbers in the words too, one after the other."""
    if isinstance(said, list):
        return [part for one in said for part in parts(one)]
    if isinstance(said, str):
        return [NUMBER.sub("#", said), *map(float, NUMBER.findall(said))]
    return [said]


def differ(before: Any, now: Any) -> bool:
    """Whether a figure says something else, beyond what another version of a numerical library changes."""
    one, other = parts(before), parts(now)
    return len(one) != len(other) or any(
        a != b if isinstance(a, str) or isinstance(b, str) else a != pytest.approx(b, rel=0.02, abs=0.005)
        for a, b in zip(one, other, strict=True)
    )


@functools.cache
def of_source(source: str) -> Any:
    """What the figures of a source are drawn from, of few resamples."""
    return script()["material"](source, script()["FEW"])


@pytest.mark.parametrize("source", ["demo", pytest.param("chinchilla", marks=pytest.mark.slow)])
def test_pictures_show_what_the_code_draws_of_the_points_today(source: str) -> None:
    now = {name: script()["note"](chart) for name, chart in script()["charts"](source, of_source(source)).items()}
    stale = [name for name, said in now.items() if name not in NOTES or differ(NOTES[name]["says"], said)]
    assert stale == [], "run: python scripts/make_figures.py"


def test_pictures_are_those_that_the_command_made() -> None:
    kept = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in FIGURES.glob("*.png")}
    assert set(kept) == set(NOTES) | set(OF_RUNS)
    assert {name: noted["sha256"] for name, noted in NOTES.items()} == {name: kept[name] for name in NOTES}


def test_the_law_of_the_first_picture_is_not_rejected() -> None:
    for page in ("README.md", "docs/index.md"):
        (first, *_) = re.findall(r"!\[[^]]*\]\((?:docs/)?figures/(\w+)\.png\)", (ROOT / page).read_text(encoding="utf-8"))
        assert first in NOTES
        fit = of_source(first.partition("_")[0]).analysis.fit
        assert fit.preferred.status in (Status.IDENTIFIED, Status.WEAK)


def test_the_numbers_of_the_readme_are_those_of_the_points() -> None:
    fit = of_source("demo").analysis.fit
    names = {"α": "alpha", "β": "beta", "κ": "kappa", "E": "E", "a": "a"}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"([αβκEa]) = (\d\.\d+) \[", text)
    assert {name for name, _ in shown} == set(names)
    for name, number in shown:
        assert f"{fit.preferred.estimates[names[name]].value:.{len(number) - 2}f}" == number


def test_a_note_tells_figures_apart() -> None:
    says = NOTES["demo_joint_fit"]["says"]
    assert not differ(says, json.loads(json.dumps(says)))
    assert differ(says, NOTES["demo_power_laws"]["says"])
    assert differ(says, [says[0] + " More.", *says[1:]])
    assert differ(["x = 1.21"], ["x = 1.27"])
    assert not differ(["x = 1.21"], ["x = 1.215"])
