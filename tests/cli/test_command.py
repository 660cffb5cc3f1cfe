"""Options as commands declare them: read, typed, refused in one sentence."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from scalesweep.cli.command import REQUIRED, Command, Given, Option, flag, list_of, one_of, whole
from scalesweep.errors import SpecError

LOUD = flag("--loud", "Say more.")
DEVICE = Option("--device", one_of("cpu", "cuda"), "cpu", "Where.", "cpu|cuda")
SIZES = Option[tuple[int, ...]]("sizes", list_of(whole), (), "How large.", "[...]")
STEPS = Option("steps", whole, REQUIRED, "How long.", "STEPS")


def command(*options: Option, num_words: int | None = 1) -> Command:
    examples = ("scalesweep walk DIR steps=3",)
    return Command("walk", "Walk.", "DIR", lambda _: 0, examples, options=options, takes="a directory", num_words=num_words)


def read(*words: str) -> Given:
    return command(LOUD, DEVICE, SIZES, STEPS).read(words)


def test_options_are_typed_wherever_they_stand_and_the_last_counts() -> None:
    given = read("--device", "cuda", "steps=1k", "there", "sizes=[2, 1k]", "steps=2k", "--loud")
    assert given.words == ("there",)
    assert (given[LOUD], given[DEVICE], given[SIZES], given[STEPS]) == (True, "cuda", (2, 1000), 2000)
    assert read("there", "--device=cuda", "steps=1")[DEVICE] == "cuda"


def test_what_is_not_given_has_its_default() -> None:
    given = read("there", "steps=1")
    assert (given[LOUD], given[DEVICE], given[SIZES]) == (False, "cpu", ())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["there"], "walk needs steps=STEPS, such as: scalesweep walk DIR steps=3."),
        (["steps=1"], "walk takes a directory, such as"),
        (["there", "here", "steps=1"], "walk takes a directory, such as"),
        (["there", "step=1"], "'step=1' is not an option (did you mean steps?): walk takes a directory"),
        (["there", "--lout"], "'--lout' is not an option (did you mean --loud?)"),
        (["there", "--loud=1"], "'--loud=1' is not an option"),
        (["there", "--device"], "--device lacks its value: --device cpu|cuda"),
        (["there", "--device", "cdua"], "--device cdua: must be one of cpu, cuda (did you mean cuda"),
        (["there", "steps=0.5"], "steps = '0.5': must be a positive whole number"),
        (["there", "sizes=[1,x]"], "sizes = 'x': must be a positive whole number"),
        (["there", "sizes=[1,1]"], "a value is given twice"),
    ],
)
def test_a_mistake_is_one_sentence(words: Sequence[str], sentence: str) -> None:
    with pytest.raises(SpecError) as error:
        read(*words)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_path_with_an_equals_sign_is_a_word(tmp_path: Path) -> None:
    (path := tmp_path / "lr=1").mkdir()
    assert read(str(path), "steps=1").words == (str(path),)


def test_settings_go_on_and_a_misspelt_option_does_not() -> None:
    walk = command(SIZES, DEVICE, num_words=None)
    settings = ("dir=there", "data=files", "fit.sizes=1", "sweep.sizes=[1]")
    assert walk.read(settings).words == settings
    with pytest.raises(SpecError, match=r"'size=\[1\]' is not an option \(did you mean sizes\?\)"):
        walk.read(["size=[1]"])
