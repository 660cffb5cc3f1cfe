"""What the checklist says of somebody else's table: what its columns show, and of the rest that the table does not say."""

import numpy as np
import pandas as pd
import pytest

from scalesweep.analysis.analyse import analyse
from scalesweep.points.reading import read_points
from scalesweep.report import ReportContext
from scalesweep.report.review.checklist import review
from scalesweep.settings.fit import FitSpec

TUNING, SEEDS, MULTIPLIERS, REPEATS, SAMPLING = 6, 8, 16, 18, 19


def answers(**columns):
    """The checklist of 4 x 4 runs, each (N, D) three times where a column asks for it."""
    n, d = (axis.ravel() for axis in np.meshgrid([1e7, 3e7, 1e8, 3e8], [3e8, 1e9, 3e9, 1e10]))
    copies = 3 if columns.pop("repeated", False) else 1
    n, d = np.tile(n, copies), np.tile(d, copies)
    noise = 1 + 0.004 * np.random.default_rng(0).standard_normal(len(n))
    frame = pd.DataFrame({"n": n, "d": d, "loss": (1.7 + 400 / n**0.34 + 400 / d**0.28) * noise})
    for name, values in columns.items():
        frame[name] = np.repeat(values, len(n) // len(values)) if len(values) != len(n) else values
    analysis = analyse(read_points(frame), FitSpec(bootstrap=0))
    return [row.answer for row in review(analysis, ReportContext("t", {}, [], {}, [], "scalesweep report t.csv"))]


@pytest.fixture(scope="module")
def plain():
    return answers()


def test_what_the_table_does_not_say_is_not_denied(plain):
    for number in (TUNING, SEEDS, MULTIPLIERS, REPEATS, SAMPLING):
        assert "does not say" in plain[number]
    whole = " ".join(plain)
    for denied in ("No setting was tuned", "no cell is replicated", "Nothing was sampled", "are of one recipe;"):
        assert denied not in whole
    assert "no N and D was measured twice" in plain[SEEDS]


def test_a_tuned_column_is_seen():
    found = answers(repeated=True, lr=[1e-3, 2e-3, 4e-3])
    assert "lr (3 values)" in found[TUNING] and "48 rows in 16 cells" in found[TUNING]
    assert "16 of 16 (N, D) have several rows, which differ by lr" in found[SEEDS]


def test_rows_of_one_cell_without_a_seed_are_seen():
    found = answers(repeated=True)
    assert "16 of 16 (N, D) have several rows, which no column tells apart" in found[SEEDS]
    assert "does not say which seeds" in found[SEEDS]


def test_seeds_are_replicates():
    assert "3 seeds; sd of log loss" in answers(repeated=True, seed=[0, 1, 2])[SEEDS]


def test_families_are_seen():
    assert "differ by arch" in answers(repeated=True, arch=["a", "b", "c"])[MULTIPLIERS]


def test_repeated_data_are_seen():
    found = answers(unique_tokens=[1e9])
    assert "8 of 16 points repeat data, at most 10 epochs" in found[REPEATS]
    assert "5 epochs" in answers(epochs=[5.0])[REPEATS]
