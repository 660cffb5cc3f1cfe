"""What the commands say of cells that came from a pool."""

import json
from pathlib import Path

import pandas as pd
import pytest
from builders import small_settings

from scalesweep.cli import main
from scalesweep.errors import SpecError
from scalesweep.run.store.measured import read_measured
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings, with_values
from scalesweep.sweep.context import report_context
from scalesweep.sweep.facts import cost_of_records
from scalesweep.sweep.pooling import pooled_keys
from scalesweep.sweep.run import run_sweep


def silent(line: str) -> None:
    """Takes what is said."""


@pytest.fixture(scope="module")
def settings(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of a sweep whose first half another one has put into the pool."""
    directory = tmp_path_factory.mktemp("pooling")
    pool = {"pool": str(directory / "pool")}
    first = small_settings(home, dir=str(directory / "first"), sweep={"budgets": [4096]}, store=pool)
    run_sweep(first, silent, silent)
    return first.model_copy(update={"dir": str(directory / "second")})


def test_every_reader_of_a_sweep_says_which_cells_came_from_the_pool(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, said = with_values(settings, {"sweep.budgets": [4096, 16384]}), list[str]()
    measured = run_sweep(settings, said.append, silent).measured
    keys, _ = pooled_keys(measured.plan, with_values(settings, {"launcher.name": "inline"}), "cpu")
    assert len(keys) == 4  # all of them by now
    pooled = {c.key for c in measured.plan.cells if c.tokens == 4096}
    assert any(line.startswith("2 cells taken from the pool") for line in said)
    assert any("2 cells to measure" in line for line in said)
    row = report_context(read_measured(Store(measured.directory)), settings, "").provenance["from the pool"]
    assert {key for key in measured.records if key in row} == pooled
    paid = [record for key, record in measured.records.items() if key not in pooled]
    assert cost_of_records(settings, paid)[0] == cost_of_records(settings, list(measured.records.values()))[0]
    out = tmp_path / "points.csv"
    assert main(["export", str(measured.directory), f"out={out}"]) == 0
    table = pd.read_csv(out)
    assert set(table["key"][table["from_pool"]]) == pooled
    capsys.readouterr()
    assert main(["status", str(measured.directory), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["pooled"]) == pooled


def test_clusters_look_into_the_pool_themselves(settings: Settings) -> None:
    on_cluster = with_values(settings, {"launcher.name": "ray"})
    measured = read_measured(Store(Path(settings.dir).with_name("first")))
    assert pooled_keys(measured.plan, on_cluster, "cpu") == ([], "")


def test_a_pool_that_is_a_file_is_refused_before_anything_is_trained(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wrong = with_values(settings, {"store.pool": str(tmp_path / "file")}).model_copy(update={"dir": str(tmp_path / "sweep")})
    with pytest.raises(SpecError, match=r"store\.pool"):
        run_sweep(wrong, silent, silent)
    assert not list(tmp_path.rglob("record.json"))


def test_a_directory_of_something_else_is_no_pool(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for pool, said in ((tmp_path / "mine", "notes.txt"), (tmp_path / "mine" / "notes.txt" / "pool", "cannot be made")):
        with pytest.raises(SpecError, match=said):
            run_sweep(with_values(settings, {"store.pool": str(pool), "dir": str(tmp_path / "sweep")}), silent, silent)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
