"""Tables that mix recipes: what varies within equal (N, D) is said, and seeds are replicates."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scalesweep.analysis.tuning.optima import tuned_frontier
from scalesweep.analysis.tuning.own import tune_by
from scalesweep.fit import fit_laws
from scalesweep.points.mixtures import find_repeats
from scalesweep.points.points import Points
from scalesweep.points.reading import read_points
from scalesweep.settings.fit import FitSpec

DATA = Path(__file__).parents[1] / "data"


def grid(**columns: list[object]) -> pd.DataFrame:
    """Three sizes at four budgets, each once for every value of the columns; losses differ by 1 % at random."""
    rng = np.random.default_rng(0)
    table = pd.MultiIndex.from_product([(3e7, 1e8, 3e8), (1e9, 3e9, 1e10, 3e10), *columns.values()], names=["n", "d", *columns])
    frame = table.to_frame(index=False)
    noise = np.exp(0.01 * rng.standard_normal(len(frame)))
    return frame.assign(loss=(1.7 + 400 / frame["n"] ** 0.34 + 410 / frame["d"] ** 0.28) * noise)


def codes(points: Points) -> dict[str, str]:
    return {finding.code: finding.text for finding in fit_laws(points, FitSpec(bootstrap=0)).findings}


def test_settings_that_vary_within_cells_are_counted_and_named() -> None:
    text = codes(read_points(DATA / "untuned_lr.csv"))["A18"]
    assert "96 rows are 16 cells" in text and "6 values of lr" in text and "tune=lr" in text
    assert "batch_size" not in text  # it has one value


def test_evaluation_sets_of_one_run_are_told_apart_from_runs() -> None:
    text = codes(read_points(DATA / "evaluation_sets.csv"))["A18"]
    assert "36 rows are 12 cells" in text and "3 values of task" in text and "by=task" in text


@pytest.mark.parametrize("columns", [{"seed": [0, 1, 2]}, {"data_seed": [5, 6]}, {"copy": [1]}])
def test_seeds_and_copies_are_replicates(columns: dict[str, list[object]]) -> None:
    table = grid(**columns)
    assert "A18" not in codes(read_points(pd.concat([table, table], ignore_index=True)))


def test_outcomes_names_and_shapes_of_single_rows_are_no_settings() -> None:
    table = grid(seed=[0, 1])
    rng = np.random.default_rng(1)
    table = table.assign(train_loss=table["loss"] - 0.1, wall_hours=rng.random(24), name=[f"run {i}" for i in range(24)])
    table = table.assign(grad_var=rng.random(24), lr=1 / np.sqrt(table["n"]), notes=[f"note {i}" for i in range(24)])
    assert find_repeats(read_points(table).used) is None


def test_random_search_is_seen_by_the_name_of_the_setting() -> None:
    found = find_repeats(grid(trial_number=[0, 1]).assign(learning_rate=np.random.default_rng(0).random(24)))
    assert found is not None and found.settings["learning_rate"] == 24


def test_budgets_that_batches_round_are_one() -> None:
    table = grid(batch_size=[64, 128])
    table["d"] *= 1 + 0.002 * (table["batch_size"] == 128)
    found = find_repeats(table)
    assert found is not None
    assert (found.num_rows, found.num_cells, found.settings) == (24, 12, {"batch_size": 2})


def test_a_tuned_frontier_of_two_seeds_mixes_nothing() -> None:
    table = pd.read_csv(DATA / "untuned_lr.csv")
    noise = 1 + 1e-4 * np.random.default_rng(0).standard_normal(len(table))
    both = pd.concat([table.assign(seed=0), table.assign(seed=1, val_loss=table["val_loss"] * noise)], ignore_index=True)
    frontier = tuned_frontier(tune_by(read_points(both), ["lr"])).points
    assert len(frontier.used) == 32
    assert find_repeats(frontier.used) is None


def shifted(factor: float, seed: int = 0) -> Points:
    """Two families of sizes of their own, one of which has the other's loss times a factor."""
    rng, rows = np.random.default_rng(seed), []
    for arch, size, scale in (("dense", 1.0, 1.0), ("gated", 1.3, factor)):
        for n in size * np.geomspace(2e7, 1e9, 6):
            for d in np.geomspace(1e9, 3e10, 4):
                loss = scale * (1.7 + 400 / n**0.34 + 410 / d**0.28) * np.exp(0.005 * rng.standard_normal())
                rows.append({"arch": arch, "n": n, "d": d, "loss": loss})
    return read_points(pd.DataFrame(rows))


def test_families_of_other_losses_are_found_and_equal_ones_are_not() -> None:
    assert "arch" in codes(shifted(0.97))["A19"]
    assert not any("A19" in codes(shifted(1.0, seed)) for seed in range(5))


def test_losses_per_token_of_several_tokenizers_are_doubted_and_per_byte_are_not() -> None:
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 1e8, 5), np.geomspace(1e8, 1e10, 4)))
    table = pd.DataFrame({"n": n, "d": d, "loss": 2 + 300 / n**0.35 + 500 / d**0.3, "bytes_per_token": [1.0, 2.2] * 10})
    per_token, per_byte = (fit_laws(read_points(table, loss=loss), FitSpec(bootstrap=0)) for loss in (None, "bits_per_byte"))
    assert any("1.00 to 2.20 bytes" in finding.text for finding in per_token.findings if finding.code == "A18")
    assert not any("bytes" in finding.text for finding in per_byte.findings)
    one = fit_laws(read_points(table.assign(bytes_per_token=2.2)), FitSpec(bootstrap=0))
    assert not any(finding.code == "A18" for finding in one.findings)
