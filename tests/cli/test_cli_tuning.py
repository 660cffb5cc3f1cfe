"""The road of a tuned sweep through the command line: plan, measure, look, extend, measure again, fit on the frontier.

Training is replaced by a simulator of the loss, so that the optimum is known.
"""

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from scalesweep.cli import main
from scalesweep.run.launch.monitor import cell_line
from scalesweep.run.store.measured import read_sweep
from scalesweep.run.store.store import Store
from scalesweep.settings.plan import CountSpec

SMALL = ["data=python_small", "data.max_bytes=300k", "logger=none", "launcher=inline", "fit.bootstrap=10", "model.context=32"]
GRID = [
    "sweep.sizes=[10k,40k,100k]",
    "sweep.budgets=[16k,32k,64k]",
    "train.validation_tokens=8192",
    "sweep.name=tuned",
    "sweep.seeds=[0]",
]


def best_lr(n: float) -> float:
    return 0.018 * (n / 1e4) ** -0.5


def simulate(store: Store, *_: Any) -> None:
    """Write the record that training would, with a loss that is quadratic in log lr and diverges far above the optimum."""
    columns = store.plan_file.content()["columns"]
    for cell in store.plan_file.plan().cells:
        claim = store.claims.take(cell.key)
        if claim is None:
            continue
        row = cell.row(CountSpec())
        lr = columns[cell.key]["tune.recipe.lr"] if columns else cell.embedding_lr / 4
        distance = math.log(lr / best_lr(row["n"]))
        loss = 1.2 + 30 / row["n"] ** 0.35 + 60 / row["d"] ** 0.35 + 0.04 * distance**2
        good = distance < 3
        record = {
            "key": cell.key,
            "state": "COMPLETE" if good else "DIVERGED",
            "loss": loss if good else None,
            "loss_se": 0.001 if good else None,
            "last_finite_loss": loss,
            "cell": dataclasses.asdict(cell),
            "row": row,
            "where": {"scalesweep": "x", "python": "x", "torch": "x", "device": "CPU"},
            "times": {"training_seconds": 1.0, "shared_steps": 0},
        }
        assert store.write_record(claim, record)


@pytest.fixture(autouse=True)
def simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalesweep.sweep.run.launch", simulate)


def run(directory: Path, *words: str) -> int:
    return main(["run", *SMALL, *GRID, f"dir={directory}", *words])


@pytest.mark.slow
def test_ranges_are_extended_where_the_optimum_lies_at_an_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lr = "sweep.tune.recipe.lr=1e-3..8e-3:4"  # the optima are at 0.018, 0.010 and 0.005
    assert run(tmp_path / "a", lr) == 0
    out = capsys.readouterr().out
    assert "The optimum of recipe.lr lies at the largest value tried, 0.008: the range is extended to 0.016..0.032 there" in out
    assert "Tuned frontier over recipe.lr: 9 inner optima of 9" in out
    store = Store(tmp_path / "a")
    per_size = {
        n: sum(c.num_params(CountSpec()) == n for c in store.plan_file.plan().cells)
        for n in {c.num_params(CountSpec()) for c in store.plan_file.plan().cells}
    }
    assert sorted(per_size.values()) == [3 * 4, 3 * 6, 3 * 6]  # only where it was needed
    with (tmp_path / "a" / "frontier.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    for row in rows:
        n, d = float(row["n"]), float(row["d"])
        assert float(row["loss"]) == pytest.approx(1.2 + 30 / n**0.35 + 60 / d**0.35, abs=1e-6)
        assert float(row["best.recipe.lr"]) == pytest.approx(best_lr(n), rel=1e-4)
    assert "Tuned frontier" in (tmp_path / "a" / "report.html").read_text()

    hash_before = store.plan_file.plan().hash
    assert run(tmp_path / "a", lr) == 0
    assert "Nothing new to measure" in capsys.readouterr().out
    assert store.plan_file.plan().hash == hash_before

    assert run(tmp_path / "a", lr, "sweep.seeds=[0,1]") == 0  # an extended sweep can still grow
    assert "18 inner optima of 18" in capsys.readouterr().out
    assert main(["fit", str(tmp_path / "a")]) == 0
    out = capsys.readouterr().out
    assert "Law of the optimum: recipe.lr = 1.8 N^-0.500" in out
    assert "18 used" in out


def test_a_table_of_tuned_points_is_fitted_on_its_frontier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "points.csv"
    cells = [(n, d, lr) for n in (1e4, 3e4, 1e5) for d in (1e6, 3e6, 1e7) for lr in (0.002, 0.004, 0.008, 0.016, 0.032, 0.064)]
    rows = [
        (n, d, 6 * n * d, 1.2 + 30 / n**0.35 + 60 / d**0.35 + 0.04 * math.log(lr / best_lr(n)) ** 2, lr) for n, d, lr in cells
    ]
    path.write_text("n,d,c,loss,tune.recipe.lr\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows))
    assert main(["fit", str(path), "fit.bootstrap=0"]) == 0
    out = capsys.readouterr().out
    assert "9 inner optima of 9, from 54 measured cells" in out
    assert "recipe.lr = 1.8 N^-0.500" in out


def test_the_cap_is_kept_and_said_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "a", "sweep.tune.recipe.lr=1e-5..4e-5:3", "sweep.tune.extensions=2") == 0
    out = capsys.readouterr().out
    assert "is extended to 8e-05 there" in out
    assert "is extended to 0.00016 there" in out
    assert "after 2 extensions (sweep.tune.extensions): such points are left out of the fit (9 optima)" in out
    assert "No law: " in out
    assert len(Store(tmp_path / "a").plan_file.plan().cells) == 9 * 5


def test_a_coarse_grid_is_refined_beside_its_best_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lr = "sweep.tune.recipe.lr=[0.0002,0.002,0.02,0.2]"
    assert run(tmp_path / "a", lr) == 0
    out = capsys.readouterr().out
    assert "The best recipe.lr tried, 0.02, stands between 0.002 and 0.2" in out
    assert "0.00632 and 0.0632 are tried there" in out
    assert "9 inner optima of 9" in out
    with (tmp_path / "a" / "frontier.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["loss_from"] for row in rows} == {"vertex"}
    for row in rows:
        n, d = float(row["n"]), float(row["d"])
        assert float(row["loss"]) == pytest.approx(1.2 + 30 / n**0.35 + 60 / d**0.35, abs=1e-6)
    hash_before = Store(tmp_path / "a").plan_file.plan().hash
    assert run(tmp_path / "a", lr) == 0
    assert "Nothing new to measure" in capsys.readouterr().out
    assert Store(tmp_path / "a").plan_file.plan().hash == hash_before


def test_cells_of_a_tuned_sweep_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "a", "sweep.tune.recipe.lr=1e-3..3e-2:4", "sweep.tune.extensions=0") in (0, 3)
    capsys.readouterr()
    assert main(["status", str(tmp_path / "a")]) == 0
    table = capsys.readouterr().out
    assert all(table.count(f"recipe.lr {lr}") == 9 for lr in ("0.001", "0.00311", "0.00965", "0.03"))
    assert main(["status", str(tmp_path / "a"), "--watch"]) == 0
    assert capsys.readouterr().out.count("seed 0  recipe.lr 0.00311  loss ") == 9
    store = Store(tmp_path / "a")
    key = store.plan_file.keys()[0]
    assert "recipe.lr 0.001  loss" in cell_line(
        store.plan_file.plan().cells[0], store.record(key) or {}, store.plan_file.plan()
    )


def test_a_tuned_sweep_without_a_law_has_its_frontier_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["sweep.sizes=[10k,40k]", "sweep.budgets=[16k]", "sweep.tune.recipe.lr=1e-3..6e-2:5"]
    assert run(tmp_path / "a", *few) == 0
    assert "No law: " in capsys.readouterr().out
    with (tmp_path / "a" / "frontier.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    (tmp_path / "a" / "frontier.csv").unlink()
    assert main(["fit", str(tmp_path / "a")]) == 2
    assert (tmp_path / "a" / "frontier.csv").exists()
    assert main(["plot", "tuning", str(tmp_path / "a")]) == 0
    assert main(["plot", "power_laws", str(tmp_path / "a")]) == 2
    assert main(["plot", "curves", str(tmp_path / "a")]) == 2  # the simulator draws none
    assert "There are no training curves" in capsys.readouterr().err


def test_diverged_settings_are_part_of_tuning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "a", "sweep.tune.recipe.lr=1e-3..2:12") == 0
    assert "9 inner optima of 9" in capsys.readouterr().out
    assert "DIVERGED" in Store(tmp_path / "a").states().values()


def test_a_law_of_the_learning_rate_is_a_recipe(tmp_path: Path) -> None:
    law = "recipe.lr_law={coefficient: 1.8, n_exponent: -0.5, d_exponent: 0.0}"
    assert run(tmp_path / "a", law) == 0
    for row in read_sweep(tmp_path / "a").frame.to_dict("records"):
        assert row["embedding_lr"] == pytest.approx(4 * best_lr(row["n"]))
        assert row["loss"] == pytest.approx(1.2 + 30 / row["n"] ** 0.35 + 60 / row["d"] ** 0.35)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sweep.tune.recipe.lr=[0.01]"], "sweep.tune.recipe.lr: [0.01] leaves nothing to tune"),
        (["sweep.tune.recipe.rl=1e-3..3e-2:4"], "sweep.tune.recipe.rl is not a setting that can be tuned"),
        (["sweep.tune.optim.weight_decya=[0.1,0.2]"], "(did you mean sweep.tune.optim.weight_decay?)"),
        (
            ["sweep.tune.recipe.lr=1e-3..3e-2:4", "sweep.axes.recipe.lr=[0.1,0.2]"],
            "recipe.lr is in sweep.axes and in sweep.tune; remove one.",
        ),
        (["sweep.tune.recipe.depth=1..4:3"], "recipe.depth changes the model, which a tuned setting must not"),
        (["sweep.tune.optim.beta1=[0.5,1.5]"], "optim.beta1 = 1.5: must be less than 1."),
        (["sweep.tune.recipe.lr=1e-3..3e-2:4", "recipe.lr_law={coefficient: 1}"], "needs recipe.lr_law=null"),
        (["sweep.tune.recipe.lr=3e-2..1e-3:4"], "high (0.001) must be above low (0.03)."),
        (["sweep.tune.train.checkpoint_seconds=[1,2]"], "make no difference to any cell"),
        (["recipe.lr_law={coeficient: 1}"], "is not a setting (did you mean recipe.lr_law.coefficient?)"),
    ],
)
def test_what_cannot_be_tuned_is_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "a", *words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert not (tmp_path / "a").exists()
