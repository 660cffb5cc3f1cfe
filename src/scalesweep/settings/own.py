"""A user's own directory of options beside configs/: DIR/GROUP/NAME.yaml, chosen by GROUP=NAME.

It is named by an option, or is `configs` in the working directory, which is looked into unasked. That one may be another
program's, so names that it has in common with scalesweep's options matter only where one of them is chosen.
"""

from collections.abc import Sequence
from pathlib import Path

from scalesweep.errors import SpecError

CONFIG_DIR = "--config-dir"
"""The option of every command that composes settings; read, it is the word --config-dir=DIR among the overrides."""
HERE = "configs"
"""The directory that is looked into without being named."""


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
    groups = group_names(ours)
    options = _options(place, ours)
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


def word_here(words: Sequence[str], ours: Path) -> list[str]:
    """The option's word for `configs` in the working directory; none where it holds no option, is ours or is named."""
    place = Path(HERE).absolute()
    if not place.is_dir() or place.resolve() == ours.resolve() or place in own_dirs(words) or not _options(place, ours):
        return []
    return [f"{CONFIG_DIR}={place}"]


def refuse_same_name(word: str, own: Sequence[Path], ours: Path) -> None:
    """Refuse a choice of an option, GROUP=NAME, of which the user has another one by this name: ours would be taken.

    Raises:
        SpecError: as above.
    """
    group, _, option = word.partition("=")
    for path in (place / group / f"{option}.yaml" for place in own if group.isidentifier() and Path(option).name == option):
        taken = ours / group / path.name
        if path.is_file() and taken.is_file() and path.read_bytes() != taken.read_bytes():
            raise SpecError(f"{word}: {path} has the name of an option of scalesweep; give the file another name.")


def group_names(ours: Path) -> list[str]:
    """The groups of options."""
    return sorted(path.name for path in ours.iterdir() if path.is_dir())


def _options(place: Path, ours: Path) -> list[Path]:
    return [path for group in group_names(ours) for path in sorted((place / group).glob("*.yaml"))]


def is_own(word: str) -> bool:
    """Whether a word of a command is that of the option."""
    return word.startswith(f"{CONFIG_DIR}=")


def own_dirs(words: Sequence[str]) -> list[Path]:
    """The directories that the words name."""
    return [Path(word.partition("=")[2]) for word in words if is_own(word)]
