"""Options of the user's own, by --config-dir."""

from pathlib import Path

import pytest

from scalesweep.cli import load_command, main
from scalesweep.errors import SpecError
from scalesweep.settings.again import overrides_of
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.settings import Settings
from scalesweep.sweep.subject import read_subject

WIDTHS = """# @package _global_
defaults:
  - override /recipe: gentle
sweep: {name: widths, sizes: [10k, 40k], budgets: [16k, 32k], seeds: [3]}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A directory with a quote and a comma in its name, which Hydra's grammar would take for its own."""
    place = tmp_path / "it's, mine"
    for group in ("sweep", "recipe", "fit"):
        (place / group).mkdir(parents=True)
    (place / "sweep" / "widths.yaml").write_text(WIDTHS)
    (place / "recipe" / "gentle.yaml").write_text("defaults: [sp]\nlr: 0.001\n")
    (place / "fit" / "careful.yaml").write_text("defaults: [default]\nbootstrap: 77\n")
    return place


def composed(*arguments: str) -> Settings:
    return compose_settings(load_command("run").read(arguments).words)


@pytest.mark.parametrize("spelled", [("--config-dir", "{}"), ("--config-dir={}",)])
def test_a_preset_of_ones_own_sets_any_group(mine: Path, spelled: tuple[str, ...]) -> None:
    settings = composed("sweep=widths", *(word.format(mine) for word in spelled), "recipe.embedding_lr_ratio=3")
    assert settings.sweep.sizes == (10_000, 40_000)
    assert settings.sweep.seeds == (3,)
    assert settings.recipe.parametrisation == "sp"
    assert settings.recipe.lr == 0.001
    assert settings.recipe.embedding_lr_ratio == 3


def test_it_is_made_again_without_the_directory(mine: Path) -> None:
    settings = composed("sweep=widths", "--config-dir", str(mine))
    words = overrides_of(settings)
    assert words is not None
    assert compose_settings(words) == settings


def test_two_directories_serve_together(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs" / "optim").mkdir(parents=True)
    (tmp_path / "theirs" / "optim" / "slow.yaml").write_text("defaults: [adamw]\nbeta2: 0.99\n")
    settings = composed("--config-dir", str(mine), "--config-dir", str(tmp_path / "theirs"), "sweep=widths", "optim=slow")
    assert (settings.sweep.name, settings.optim.beta2) == ("widths", 0.99)


def test_a_relative_directory_is_that_of_the_command(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine.parent)
    words = load_command("run").read(["sweep=widths", "--config-dir", mine.name]).words
    monkeypatch.chdir("/")
    assert compose_settings(words).sweep.name == "widths"


def test_reading_commands_take_options_of_the_fit(mine: Path, tmp_path: Path) -> None:
    table = tmp_path / "points.csv"
    table.write_text("n,d,loss\n" + "".join(f"{n},{10 * n},{2 + 9 * n**-0.4}\n" for n in (10_000, 20_000, 40_000)))
    words = load_command("fit").read(["--config-dir", str(mine), str(table), "fit=careful"]).words
    assert read_subject(words, "fit").spec.bootstrap == 77


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ({"sweep": "widhts"}, "'widhts'.*did you mean widths"),
        ({"recipe/sp.yaml": "lr: 1\n"}, "recipe/sp.yaml"),
        ({"sweep/widths.yaml": "a: [1\n"}, "widths.yaml.*line"),
        ({"sweep/widths.yaml": "defaults: [nothere]\n"}, "sweep/nothere"),
        ({"recipe/gentle.yaml": "defaults: [sp]\nlrr: 1\n"}, "lrr"),
    ],
    ids=str,
)
def test_what_is_wrong_with_it_is_said_in_a_sentence(mine: Path, harm: dict[str, str], says: str) -> None:
    sweep = harm.pop("sweep", "widths")
    for name, content in harm.items():
        (mine / name).write_text(content)
    with pytest.raises(SpecError, match=says):
        composed("--config-dir", str(mine), f"sweep={sweep}")


@pytest.mark.parametrize("command", ["run", "train"])
def test_a_directory_that_is_not_there_or_empty_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for words in (["--config-dir", str(tmp_path / "nowhere")], [f"--config-dir={tmp_path / 'empty'}"], ["--config-dir"]):
        assert main([command, *words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("scalesweep: --config-dir")
        assert said.count("\n") == 1
