"""Options of the user's own, by --config-dir."""

from pathlib import Path

import pytest

from scalesweep.cli import load_command, main
from scalesweep.errors import SpecError
from scalesweep.settings.again import overrides_of
from scalesweep.settings.compose import compose_settings, config_dir
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


# -- a sweep file -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, without anything in it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


FILE = """
sweep: {sizes: [20k, 60k], budgets: [1e5], axes: {optim: {z_loss: [0, 1e-4]}}}
recipe.lr: 3e-3
data: {data: files, paths: ['a b.txt', c.txt], tokenizer: {kind: bytes}}
data.transform: {kind: drop, share: 0.5}
logger: none
dir: runs/${sweep.name}-1
"""


def test_a_sweep_file_sets_what_the_command_line_could(here: Path) -> None:
    (here / "mine.yaml").write_text(FILE)
    settings = composed("mine.yaml")
    assert (settings.sweep.name, settings.dir) == ("mine", "runs/mine-1")
    assert (settings.sweep.sizes, settings.sweep.budgets) == ((20_000, 60_000), (100_000.0,))
    assert settings.sweep.axes == {"optim": {"z_loss": [0, 1e-4]}}
    assert (settings.recipe.lr, settings.logger.kind) == (0.003, "none")
    assert (settings.data.source, settings.data.paths) == ("files", ("a b.txt", "c.txt"))
    assert settings.data.transform is not None and settings.data.transform.share == 0.5


def test_the_command_line_wins_over_the_file(here: Path) -> None:
    (here / "mine.yaml").write_text(FILE)
    settings = composed("sweep.name=other", "mine.yaml", "recipe.lr=0.1", "logger=wandb", "data.paths=[d.txt]")
    assert (settings.sweep.name, settings.recipe.lr) == ("other", 0.1)
    assert (settings.logger.kind, settings.data.paths) == ("wandb", ("d.txt",))


def test_a_copy_of_a_preset_is_a_sweep_file(here: Path) -> None:
    for name in ("tuned_small", "chinchilla_small"):
        (here / f"{name}.yaml").write_text((config_dir() / "sweep" / f"{name}.yaml").read_text())
        assert composed(f"{name}.yaml") == composed(f"sweep={name}")


def test_the_example_composes_and_stands_in_the_docs() -> None:
    root = Path(__file__).parents[2]
    text = (root / "examples" / "sweep.yaml").read_text()
    settings = composed(str(root / "examples" / "sweep.yaml"))
    assert (settings.sweep.name, len(settings.sweep.budgets)) == ("sweep", 3)
    assert f"```yaml\n{text}```" in (root / "docs" / "sweep_file.md").read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("recipe: {lrr: 1}", "recipe.lrr is not a setting.*did you mean recipe.lr"),
        ("recipe: {lr: 1}\nrecipe.lr: 2", "mine.yaml says recipe.lr twice"),
        ("sweep: smoke\nrecipe: {lr: fast}", "recipe.lr = 'fast'"),
        ("data: enwik", "did you mean enwik8"),
        ("sweep: smoke\ndata: {data: python, paths: [a]}", "has no effect"),
        ("- sweep", "mine.yaml is no sweep file"),
        ("", "mine.yaml is no sweep file"),
        ("a: [1", "mine.yaml is no YAML"),
        ("+recipe.lr: 1", "is no name of a setting"),
        ("defaults: [other]", "defaults holds 'other'"),
        (None, "there is no such file"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(here: Path, text: str | None, says: str) -> None:
    if text is not None:
        (here / "mine.yaml").write_text(text)
    with pytest.raises(SpecError, match=says) as caught:
        composed("mine.yaml")
    assert "\n" not in str(caught.value)


def test_a_preset_is_named_by_its_group() -> None:
    with pytest.raises(SpecError, match="write sweep=smoke"):
        composed("smoke")


# -- configs/ of the working directory ----------------------------------------------------------------------------------------


def test_presets_of_the_working_directory_are_found(here: Path, mine: Path) -> None:
    mine.rename(here / "configs")
    settings = composed("sweep=widths")
    assert (settings.sweep.name, settings.recipe.lr) == ("widths", 0.001)
    assert composed("configs/sweep/widths.yaml") == settings


def test_the_configs_of_another_program_are_left_alone(here: Path) -> None:
    (here / "configs" / "model").mkdir(parents=True)
    (here / "configs" / "model" / "decoder.yaml").write_text("_target_: theirs\n")
    (here / "configs" / "train.yaml").write_text("seed: 1\n")
    assert composed("sweep=smoke").model.context == 32
    with pytest.raises(SpecError, match=r"model=decoder: .*has the name of an option of scalesweep"):
        composed("model=decoder")


def test_a_file_without_a_grid_is_told_what_it_lacks(here: Path) -> None:
    (here / "mine.yaml").write_text("sweep: {sizes: [20k, 60k]}\n")
    with pytest.raises(SpecError, match=r"sweep\.budgets is missing"):
        composed("mine.yaml")
    assert composed("mine.yaml", "sweep=smoke").sweep.budgets == (16_000, 32_000, 64_000)
