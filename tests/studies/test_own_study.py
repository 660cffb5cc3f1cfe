"""A study of the user's own, as docs/studies/own.md shows it: the example's file and module, on a grid of eight small cells."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scalesweep.cli import main
from scalesweep.errors import PointsError
from scalesweep.points.points import Points, points_from_rows
from scalesweep.settings import trust as trusted
from scalesweep.studies.base import Rule
from scalesweep.studies.load import Study, load_study
from scalesweep.studies.simulate import operating, wrong_share

ROOT = Path(__file__).parents[2]
MINE = ROOT / "examples" / "mine"
TINY = [
    *("data=markov", "data.max_tokens=200k", "train.validation_tokens=4096", "launcher=inline"),
    *("sweep.sizes=[{width: 16, depth: 1},{width: 32, depth: 1}]", "sweep.budgets=[16k]", "sweep.seeds=[0,1]"),
]


@pytest.fixture(autouse=True)
def own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PYTHONPATH=examples/mine and trust=longer_warmup do."""
    monkeypatch.syspath_prepend(MINE)
    monkeypatch.setattr(trusted, "TRUSTED", ["longer_warmup"])


@pytest.fixture
def study() -> Study:
    return load_study("longer_warmup", [MINE])


def grid(sizes: tuple[float, ...] = (14e3, 42e3), seeds: int = 5) -> Points:
    """The example's own grid, without losses."""
    rows = [{"n": n, "d": 262144.0, "c": 6 * n * 262144, "loss": 1.0, "seed": k} for n in sizes for k in range(seeds)]
    return points_from_rows(rows, "with_head", "attention", "made up")


def test_the_page_shows_the_file_as_it_is() -> None:
    page = (ROOT / "docs" / "studies" / "own.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert shown in (MINE / "study" / "longer_warmup.yaml").read_text(encoding="utf-8")
    module = (MINE / "longer_warmup.py").read_text(encoding="utf-8")
    for signature in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        assert signature in module


def test_it_is_measured_judged_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["study", "longer_warmup", f"--config-dir={MINE}", "trust=longer_warmup"]
    words += [*TINY, f"data.cache={tmp_path / 'cache'}", f"dir={tmp_path / 'studies'}"]
    assert main(words) == 0
    said = capsys.readouterr().out
    place = tmp_path / "studies" / "longer_warmup"
    verdict: dict[str, Any] = json.loads((place / "verdict.json").read_text(encoding="utf-8"))
    assert {arm: len(keys) for arm, keys in verdict["cells"].items()} == {"base": 4, "long": 4}
    assert [part["name"] for part in verdict["parts"]] == ["drop", "drop_at_largest_n"]
    assert verdict["verdict"] in ("supported", "contradicted", "cannot tell", "not valid")
    assert verdict["verdict"] in said
    assert "A longer warm-up ends at a lower loss." in (place / "index.html").read_text(encoding="utf-8")
    assert main(words) == 0
    assert "to measure" not in capsys.readouterr().out  # nothing is left


def test_a_known_drop_is_found(study: Study) -> None:
    arms = {"base": grid(), "long": grid()}
    exact = study.module.simulate(arms, "drop", 0.03, 1e-9, np.random.default_rng(0))
    found = study.module.judge(exact, Rule())
    for effect in found.effects.values():
        assert (effect.value, effect.low, effect.high) == pytest.approx((0.03, 0.03, 0.03))


def test_a_run_without_a_partner_fails_the_control(study: Study) -> None:
    arms = {"base": grid(seeds=5), "long": grid(seeds=4)}
    drawn = study.module.simulate(arms, "drop", 0.03, 0.0046, np.random.default_rng(0))
    assert study.judge(drawn).word == "not valid"
    with pytest.raises(PointsError, match="the same two seeds"):
        study.module.judge({"base": grid(), "long": grid(seeds=1)}, Rule())


@pytest.mark.slow
def test_its_rule_errs_as_rarely_as_the_page_says(study: Study) -> None:
    rows = operating(study, {"base": grid(), "long": grid()}, 40)
    assert [wrong_share(row) for row in rows] == [0.0, 0.0]
