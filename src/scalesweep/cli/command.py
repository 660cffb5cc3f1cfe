"""What a command is: its words for --help, the options that it reads, and the function that carries it out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from scalesweep.errors import SpecError, did_you_mean
from scalesweep.settings.base import parse_quantity, shown
from scalesweep.settings.compose import config_dir, file_words, is_setting
from scalesweep.settings.guess import usual
from scalesweep.settings.own import CONFIG_DIR, own_word, word_here
from scalesweep.settings.trust import module_names
from scalesweep.settings.words import SUFFIXES

if TYPE_CHECKING:
    from scalesweep.report import Pictures

T = TypeVar("T")
Name = TypeVar("Name", bound=str)
REQUIRED: Any = object()
"""Default of an option that must be given."""
TABLE_NOTES = """
Of a file of points, also:
  columns.ROLE=COLUMN  Which column holds n, d, c, loss, loss_se or seed, where its header does not say so.
  where='CONDITION'    Which rows are read, such as where='arch == "dense" and step > 100'.
  units.n|d|c=UNIT     What its N, D or C is counted in: millions, billions, GFLOPs, PF-days, ... (docs/own.md).
  count.loss=METRIC    What its loss is: bits_per_byte, perplexity, accuracy, ...; by default what the header says.
  tune=lr,batch_size   Columns of settings: the laws are fitted to the optimum over them at every N, D and seed."""
"""Notes of the commands that read a table."""
_WITHOUT_GROUP = ("dir", "points")
"""What many commands take beside their options and the groups of settings."""


@dataclass(frozen=True)
class Option(Generic[T]):
    """NAME=VALUE of one command, or --NAME VALUE, or the bare flag --NAME; other words are positional, or settings."""

    name: str
    parse: Callable[[str], T]
    """Raises ValueError(what is allowed), or ValueError(what is allowed, the part that is wrong)."""
    default: T
    about: str = ""
    """One line of --help, which leaves out an option without it: a second spelling, or one for other programs."""
    metavar: str = ""
    """The value as usage shows it; a flag has none."""
    replaces: tuple[str, ...] = ()
    """Settings that it stands in place of, those of a sweep file too."""

    @property
    def spelling(self) -> str:
        """How the option is written."""
        if not self.metavar:
            return self.name
        return f"{self.name}{' ' if self.name.startswith('--') else '='}{self.metavar}"

    def read(self, text: str) -> T:
        """The value.

        Raises:
            SpecError: `parse` refuses the text.
        """
        try:
            return self.parse(text)
        except ValueError as error:
            allowed, wrong = error.args if len(error.args) == 2 else (error, text)
            given = f"{self.name} {text}" if self.name.startswith("--") else f"{self.name} = {shown(wrong)}"
            raise SpecError(f"{given}: {allowed}.") from None


def flag(name: str, about: str = "") -> Option[bool]:
    """An option without a value."""
    return Option(name, bool, False, about)


@dataclass(frozen=True)
class Given:
    """The words of one call, read."""

    words: tuple[str, ...]
    """Positional words and settings, in their order."""
    values: Mapping[str, Any]

    def __getitem__(self, option: Option[T]) -> T:
        value: T = self.values[option.name]
        return value


@dataclass(frozen=True)
class Command:
    """One command of the command line."""

    name: str
    about: str
    """One sentence."""
    usage: str
    """What follows the name."""
    run: Callable[[Given], int]
    """Gives the exit code."""
    examples: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Groups of configs/ that matter to it."""
    options: tuple[Option[Any], ...] | None = ()
    """None hands every word to `run` as it is, --help too."""
    takes: str = ""
    """What its words are, in a sentence that refuses others."""
    num_words: int | None = None
    """How many positional words it takes, and no setting; None: `run` looks at them."""
    takes_file: bool = False
    """Whether one of its words may be a sweep file, whose settings come before those of the command line."""
    subjects: tuple[str, ...] = ()
    """Words that it is about, such as the checks of `check`, for a shell that completes them."""
    notes: str = ""
    """Further lines of its --help."""
    is_measuring: bool = False
    """It goes on to its end also when nobody reads what it prints."""

    def __call__(self, arguments: Sequence[str]) -> int:
        """Read the arguments and carry the command out."""
        return self.run(self.read(arguments))

    def read(self, arguments: Sequence[str]) -> Given:
        """The arguments by option; the last of an option's values counts.

        Raises:
            SpecError: an option is unknown, lacks its value or is wrong, or there are too few or too many other words.
        """
        if self.options is None:
            return Given(tuple(arguments), {})
        own = {option.name: option for option in self.options}
        words: list[str] = []
        found: list[str] = []
        values = {option.name: option.default for option in self.options}
        rest = iter(arguments)
        for word in rest:
            name, sign, text = word.partition("=")
            option = own.get(name)
            if name == CONFIG_DIR and self.groups:
                if not (text := text or next(rest, "")):
                    raise SpecError(f"{name} lacks its value: {name} DIR, such as: {self._example} {name} mine.")
                found.append(own_word(text, config_dir()))
                continue
            if option is not None and option.metavar and (sign or name.startswith("--")):
                if not sign and not (text := next(rest, "")):
                    raise SpecError(f"{name} lacks its value: {option.spelling}, such as: {self._example}.")
                values[name] = option.read(text)
            elif option is not None and not option.metavar and not sign:
                values[name] = True
            else:
                words.append(self._checked(word))
        if self.num_words not in (None, len(words)):
            raise SpecError(f"{self.name} takes {self.takes}, such as: {self._example}.")
        if missing := [option for option in self.options if values[option.name] is REQUIRED]:
            raise SpecError(f"{self.name} needs {missing[0].spelling}, such as: {self._example}.")
        if self.groups:
            found += word_here(found, config_dir())
        replaced = [name for option in self.options if values[option.name] is not None for name in option.replaces]
        return Given((*(self._unfolded(words, replaced) if self.takes_file else words), *found), values)

    def _unfolded(self, words: Sequence[str], replaced: Sequence[str]) -> list[str]:
        """The words with a sweep file's in its place, but for what the command line says otherwise."""
        files = [word for word in words if word.endswith(SUFFIXES) and "=" not in word]
        if len(files) > 1:
            raise SpecError(f"{self.name} takes one sweep file, not {' and '.join(files)}.")
        rest = [word for word in words if word not in files]
        said = {*replaced, *(_name(word) for word in rest)}
        ours = [word for file in files for word in file_words(Path(file).expanduser())]
        return [*(word for word in ours if _name(word) not in said), *rest]

    def _checked(self, word: str) -> str:
        """A word that is no option of the command, if it does not look like one."""
        name = word.partition("=")[0]
        hint = did_you_mean(name, [*(option.name for option in self.options or ()), *([CONFIG_DIR] if self.groups else [])])
        instead = usual(name.lstrip("-")) if self.groups else ""
        if self.num_words is not None:
            is_mistake = name.startswith("--") or is_setting(word)
        else:  # settings go on to Hydra, which has near misses of its own
            is_known = bool(instead) or "." in name or name in _WITHOUT_GROUP or (config_dir() / name).is_dir()
            is_mistake = name.startswith("--") or (is_setting(word) and bool(hint) and not is_known)
        if is_mistake:
            if instead and not hint:
                raise SpecError(f"{word!r} is not an option: {instead}.")
            takes = f": {self.name} takes {self.takes}" if self.takes else ""
            raise SpecError(f"{word!r} is not an option{hint}{takes}, such as: {self._example}.")
        return word

    @property
    def _example(self) -> str:
        return next(example for example in self.examples if example.startswith(f"scalesweep {self.name} "))


def _name(word: str) -> str:
    """The setting or the group that an override is of."""
    return word.partition("=")[0].lstrip("+~")


TRUST = Option[tuple[str, ...]](
    "trust", module_names, (), "Module of your own that model.target or optim.target names.", "package.module"
)


def one_of(*allowed: Name) -> Callable[[str], Name]:
    """One of some names."""

    def parse(text: str) -> Name:
        for name in allowed:
            if name == text:
                return name
        raise ValueError(f"must be one of {', '.join(allowed)}{did_you_mean(text, allowed)}")

    return parse


FIGURES: "Option[Pictures]" = Option(
    "figures",
    one_of("none", "png", "all"),
    "png",
    "Files of figures beside the page: those of report.md (default), SVG and PDF too, or none.",
    "none|png|all",
)


def positive(text: str) -> float:
    """A positive number."""
    value = parse_quantity(text)
    if not isinstance(value, int | float) or not value > 0:
        raise ValueError("must be a positive number, such as 250k or 1e15", text)
    return float(value)


def whole(text: str) -> int:
    """A positive whole number."""
    value = parse_quantity(text)
    if not isinstance(value, int) or value < 1:
        raise ValueError("must be a positive whole number, such as 64 or 128k", text)
    return value


def list_of(parse: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """Different items in brackets; [] is none."""

    def parse_all(text: str) -> tuple[T, ...]:
        words = [word.strip() for word in text.strip().strip("[]").split(",")]
        items = tuple(parse(word) for word in words if word)
        if len(set(items)) < len(items):
            raise ValueError("a value is given twice", words)
        return items

    return parse_all
