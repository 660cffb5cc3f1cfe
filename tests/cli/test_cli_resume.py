"""Going on with a sweep: by its directory, with more cells on purpose, and never with more by mistake."""

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from scalesweep.cli import load_command, main
from scalesweep.errors import FitError
from scalesweep.run.store.store import Store
from scalesweep.settings.compose import compose_settings
from scalesweep.sweep.cells import read_cells, write_cells

GRID = [
    "sweep=smoke",
    "sweep.sizes=[{width: 16, depth: 1}, {width: 32, depth: 1}]",
    "sweep.budgets=[2048,4096]",
    "data.max_bytes=300k",
    "recipe.warmup_steps=2",
    "train.validation_tokens=2048",
    "fit.bootstrap=10",
    "launcher=inline",
]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    def no_report(*_: Any, **__: Any) -> Any:
        raise FitError("not asked for")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        importlib.import_module("scalesweep.cli.analysis")  # takes the function by its name, and must not keep this one
        patch.setattr("scalesweep.sweep.subject.write", no_report)  # which takes longer than the sweep, and is tested elsewhere
        yield


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("measured") / "smoke"
    assert main(["run", *GRID, f"dir={directory}"]) == 0
    return directory


@pytest.fixture
def sweep(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A measured sweep of four cells, at runs/smoke of the working directory."""
    shutil.copytree(measured, tmp_path / "runs" / "smoke")
    monkeypatch.chdir(tmp_path)
    return Path("runs/smoke")


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(list(words)) == code
    printed = capsys.readouterr()
    if code == 2:
        assert printed.err.count("\n") == 1
    return printed.err if code == 2 else printed.out


def lose_a_record(sweep: Path) -> Path:
    """Make one cell unfinished; its record."""
    store = Store(sweep)
    key = store.plan_file.keys()[0]
    for path in store.cell_dir(key).iterdir():
        path.unlink()
    return store.cell_dir(key) / "record.json"


def test_resume_goes_on_as_cancel_and_status_say(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (sweep / "sweep.json").read_bytes()
    record = lose_a_record(sweep)
    loss = {path.parent.name: json.loads(path.read_text())["loss"] for path in sweep.glob("cells/*/record.json")}
    assert "scalesweep resume runs/smoke\n" in said(capsys, "cancel", "runs/smoke")
    (listed,) = json.loads(said(capsys, "status", "--json"))["sweeps"]
    assert listed["command"] == "scalesweep resume runs/smoke"
    assert "1 cells to measure" in said(capsys, "resume", "runs/smoke")
    assert record.is_file()
    assert loss.items() <= {p.parent.name: json.loads(p.read_text())["loss"] for p in sweep.glob("cells/*/record.json")}.items()
    old, new = json.loads(before), json.loads((sweep / "sweep.json").read_text())
    assert {**old["settings"], "dir": ""} == {**new["settings"], "dir": ""} and old["hash"] == new["hash"]
    assert "Nothing new to measure" in said(capsys, "resume", "runs/smoke")


def test_resume_names_the_modules_that_it_must_trust(measured: Path) -> None:
    from scalesweep.settings.again import resume_command

    custom = compose_settings(["model=custom", "model.target=mine.nets:Net"])
    assert resume_command(custom, Path("runs/x")) == "scalesweep resume runs/x trust=mine.nets"


def test_resume_needs_a_sweep(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no sweep" in said(capsys, "resume", "runs", code=2)
    assert "resume takes one directory" in said(capsys, "resume", code=2)
    assert "resume takes one directory" in said(capsys, "resume", "runs/smoke", "recipe.lr=1", code=2)


def test_status_alone_lists_what_is_below_runs(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(sweep, "runs/deeper/other")
    shutil.copytree(sweep, "runs/cells/2026-01-01/00-00-00/sweep")  # a single cell of `train` is none
    (Path("runs/broken")).mkdir()
    Path("runs/broken/sweep.json").write_text("{")
    lose_a_record(Path("runs/deeper/other"))
    printed = said(capsys, "status")
    assert "scalesweep resume runs/deeper/other" in printed and "3 complete, 1 waiting" in printed
    assert "4 complete" in printed and "resume runs/smoke" not in printed
    assert "3 sweeps below runs" in printed
    value = json.loads(said(capsys, "status", "--json"))
    assert {one["directory"] for one in value["sweeps"]} == {"runs/smoke", "runs/deeper/other", "runs/broken"}
    page = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()
    assert [name for name in value["sweeps"][0] if f"`sweeps.{name}`" not in page and f"`.{name}`" not in page] == []
    shutil.rmtree("runs")
    assert "No sweep stands below runs" in said(capsys, "status")
    assert "status takes one directory" in said(capsys, "status", "--watch", code=2)


# -- growth -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        (
            {"sweep.budgets": "[2048,4096,8192]", "sweep.name": "other"},
            "holds the sweep smoke, and this",
        ),
        ({"sweep.axes.optim.grad_clip": "[1.0,0.5]"}, "sweep.axes.optim.grad_clip None -> [1, 0.5]"),
        ({"sweep.sizes": "[{width: 16, depth: 1}, {width: 32, depth: 1}, 40k]", "recipe.depth": "3"}, "recipe.depth 2 -> 3"),
    ],
    ids=["name", "axis", "recipe"],
)
def test_another_sweep_is_not_joined(
    sweep: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str], differs: str
) -> None:
    words = dict(word.split("=", 1) for word in GRID) | changed
    refused = said(capsys, "run", *(f"{name}={value}" for name, value in words.items()), "dir=runs/smoke", code=2)
    assert differs in refused and "add --extend" in refused and len(Store(sweep).plan_file.keys()) == 4


def test_a_grid_grows_only_where_the_command_names_it(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("configs/sweep").mkdir(parents=True)
    text = (Path(__file__).parents[2] / "configs" / "sweep" / "smoke.yaml").read_text()
    Path("configs/sweep/larger.yaml").write_text(text.replace("[16k, 32k, 64k]", "[2048, 4096, 8192]"))
    before = (sweep / "sweep.json").read_bytes()
    preset = ["run", *(word for word in GRID if "budgets" not in word), "sweep=larger", "dir=runs/smoke"]
    refused = said(capsys, *preset, code=2)
    for words in ("4 cells", "would add 2", "sweep.budgets [2048, 4096] -> [2048, 4096, 8192]", "scalesweep resume runs/smoke"):
        assert words in refused
    assert (sweep / "sweep.json").read_bytes() == before
    assert "2 cells to measure" in said(capsys, *preset, "--extend")
    assert len(Store(sweep).plan_file.keys()) == 6
    assert "2 new" in said(capsys, "run", *GRID, "sweep.budgets=[2048,4096,8192,6144]", "dir=runs/smoke")


def test_another_sweep_is_refused_with_the_command_that_goes_on(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = said(capsys, "run", *GRID, "recipe.lr=0.001", "dir=runs/smoke", "--extend", code=2)
    assert "holds another sweep" in refused and "scalesweep resume runs/smoke" in refused


# -- cells --------------------------------------------------------------------------------------------------------------------


def test_cells_by_hand_are_the_whole_sweep(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pairs.csv").write_text("Size,budget,seed\n9k,4k,0\n 20k, 8k, 1\n")
    words = [word for word in GRID if "sizes" not in word and "budgets" not in word]
    printed = said(capsys, "plan", "cells=pairs.csv", *words)
    assert "\npairs (" in printed and "2 cells" in printed
    assert said(capsys, "run", "cells=pairs.csv", *words)
    cells = Store(Path("runs/pairs")).plan_file.plan().cells
    assert [(c.tokens, c.seed) for c in cells] == [(4096, 0), (8192, 1)]
    Path("mine.yaml").write_text("sweep: {sizes: [10k], budgets: [8k]}\nrecipe.lr: 0.001\n")  # whose grid is not meant
    command = load_command("plan").read(["mine.yaml", "cells=pairs.csv"])
    assert not [word for word in command.words if word.startswith(("sweep.sizes", "sweep.budgets"))]
    assert "recipe.lr=0.001" in command.words
    assert "leave sweep.sizes and sweep.budgets out" in said(capsys, "run", "cells=pairs.csv", *GRID, code=2)


def test_proposed_cells_join_the_sweep(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cells.csv").write_text("n,d\n9k,8192\n")
    assert "1 cells to measure" in said(capsys, "resume", "runs/smoke", "cells=cells.csv")
    assert len(Store(sweep).plan_file.keys()) == 5
    assert "Nothing new" in said(capsys, "run", *GRID, "dir=runs/smoke")  # the first command does not know of them


def test_a_size_that_moves_is_said(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cells.csv").write_text("n,d\n9000,8192\n11800,8192\n")
    assert main(["plan", "cells=cells.csv", *(word for word in GRID if "sizes" not in word and "budgets" not in word)]) == 0
    assert "The nearest size to 11,800 parameters is width" in capsys.readouterr().err


def test_cells_are_read_as_they_are_written(tmp_path: Path) -> None:
    (path := tmp_path / "cells.csv").write_text("n,d,seed\n10k,1.5M,2\n10000,1.5e6,3\n")
    cells = read_cells(path)
    assert [(cell.size, cell.tokens, cell.seed) for cell in cells] == [(10_000, 1_500_000, 2), (10_000, 1_500_000, 3)]
    write_cells(tmp_path / "again.csv", cells)
    assert read_cells(tmp_path / "again.csv") == cells


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("n,d,lr\n1k,2k,1\n", "column 'lr' is none of a cell"),
        ("n\n1k\n", "must be n and d"),
        ("n,d\n", "holds no cell"),
        ("n,d\n1k\n", "line 2 has 1 values"),
        ("n,d\n1k,x\n", "line 2: tokens = 'x'"),
        ("n,d\n1k,2k\n\n1000,2000\n", "line 4 is line 2 again"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_table_of_cells_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, sentence: str
) -> None:
    path = tmp_path / "cells.csv"
    if text is not None:
        path.write_text(text)
    assert sentence in said(capsys, "run", f"cells={path}", code=2)
