import csv
from pathlib import Path

import pytest

from scalesweep.cli import main

TINY = ("data=python_small", "data.max_bytes=300k", "sweep=smoke", "train.validation_tokens=1024", "train.device=cpu")


def test_a_tiny_check_prints_plots_and_files_every_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ("widths=[16,32]", "depths=[1,2]", "sizes=[16x1,32x1]", "lrs=[0.012,0.003,0.006]", "tokens=2048")
    assert main(["check", "transfer", *own, *TINY, f"dir={tmp_path}"]) == 0
    text = capsys.readouterr().out
    assert all(words in text for words in ("Coordinate check over width", "over depth", "drifts by a factor of"))
    for name in ("coordinates", "learning_rate"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    losses = list(csv.DictReader((tmp_path / "learning_rate.csv").read_text().splitlines()))
    assert [(row["width"], row["lr"]) for row in losses] == [
        (w, lr) for w in ("16", "32") for lr in ("0.003", "0.006", "0.012")
    ]
    rows = csv.DictReader((tmp_path / "coordinates.csv").read_text().splitlines())
    places = {(row["axis"], row["place"]) for row in rows}
    assert {("width", "layer 1"), ("width", "logits"), ("depth", "last layer"), ("depth", "logits")} <= places


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "check takes the name of a check"),
        (["width"], "check takes the name of a check"),
        (["transfer", "widths=[64]"], "widths = [64]: a slope needs two or more"),
        (["transfer", "widths=[64,64]"], "a value is given twice"),
        (["transfer", "depths=[two,4]"], "depths = 'two': must be a positive whole number"),
        (["transfer", "sizes=[64]"], "sizes = '64': must be WIDTHxDEPTH"),
        (["transfer", "lrs=[0.1,0.2]"], "an optimum needs three or more learning rates"),
        (["transfer", "lrs=[-1,0.2,0.3]"], "lrs = '-1': must be a positive number"),
        (["transfer", "tokens=0"], "tokens = '0': must be a positive whole number"),
        (["transfer", "recipe.base_depth=0"], "recipe.base_depth = 0: must be greater than 0"),
        (["transfer", "recipe.parametrisation=mpu"], "must be 'completep', 'mup' or 'sp' (did you mean mup?)"),
        (["transfer", "widths=[24,32]", *TINY], "width 24 is not a multiple of recipe.head_dim = 16"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *words]) == 2
    assert sentence in capsys.readouterr().err
