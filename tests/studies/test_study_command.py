"""What the command refuses, each in one sentence, before anything is trained."""

from pathlib import Path

import pytest

from scalesweep.cli import main

TABLE = str(Path(__file__).parents[1] / "data" / "epoch_chinchilla.csv")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "is not a study"),
        (["data=enwik8"], "needs the name of a study"),
        (["simulate=20"], "needs the name of a study"),
        (["sample_efficiency", "data=enwik8"], "dir="),
        (["sample_efficiency", "fit.seed=3", "dir=x"], "a study fixes fit itself"),
        (["sample_efficiency", "nowhere.csv"], "table of points that is there"),
        (["sample_efficiency", TABLE, "data=enwik8"], "has no effect on a table"),
        (["sample_efficiency", TABLE, "form=full"], "form=full has no effect"),
        (["sample_efficiency", TABLE, "simulate=20"], "simulate=20 has no effect"),
        (["algorithms", TABLE], "needs arm muon"),
        (["sample_efficiency", "form=large"], "must be one of quick, full"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", *words]) == 2
    message = capsys.readouterr().err
    assert said in message and len(message.splitlines()) == 1


def test_a_table_of_ones_own_gets_a_page_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "sample_efficiency", TABLE, f"dir={tmp_path}"]) == 0
    assert "sample_efficiency: " in capsys.readouterr().out
    assert (tmp_path / "epoch_chinchilla-sample_efficiency.html").is_file()
