"""A user's own directory of options beside configs/: DIR/GROUP/NAME.yaml, chosen by GROUP=NAME."""

from collections.abc import Sequence
from pathlib import Path

from scalesweep.errors import SpecError

CONFIG_DIR = "--config-dir"
"""The option of every command that composes settings; read, it is the word --config-dir=DIR among the overrides."""


def own_word(text: str, ours: Path) -> str:
    """The option's word for the directory that is given.

    Args:
        text: the directory.
        ours: configs/.

    Raises:
        SpecError: it is no directory, holds no option, or one whose name is taken: the other would be used in its place.
    """
    place = Path(text).expanduser().absolute()
    if not text or not place.is_dir():
        raise SpecError(f"{CONFIG_DIR} {text}: there is no such directory.")
    groups = sorted(path.name for path in ours.iterdir() if path.is_dir())
    options = [path for group in groups for path in sorted((place / group).glob("*.yaml"))]
    if not options:
        raise SpecError(
            f"{CONFIG_DIR} {text}: it holds no option; those of a group are in a directory of its name, such as "
            f"{text}/sweep/my_sweep.yaml, and the groups are {', '.join(groups)}."
        )
    for path in options:
        name = path.relative_to(place)
        if (ours / name).exists():
            raise SpecError(f"{CONFIG_DIR} {text}: {name} has the name of an option of scalesweep; give it another one.")
    return f"{CONFIG_DIR}={place}"


def is_own(word: str) -> bool:
    """Whether a word of a command is that of the option."""
    return word.startswith(f"{CONFIG_DIR}=")


def own_dirs(words: Sequence[str]) -> list[Path]:
    """The directories that the words name."""
    return [Path(word.partition("=")[2]) for word in words if is_own(word)]
