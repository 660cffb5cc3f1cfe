"""`data.validation` as it is written, and as the tables of settings that it stands for."""

from collections.abc import Callable, Mapping
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.settings.base import parse
from scalesweep.settings.data import DataSpec
from scalesweep.settings.options import merged

OWN = "own"
"""Stands for the share of its own text that a corpus holds out."""
MAIN = "main"
"""Name of a set that is given alone."""
Compose = Callable[[str], Mapping[str, Any] | None]
"""Takes the name of an option of `data`; gives its settings without any override, None where there is no such option."""


def with_validation(data: Mapping[str, Any], compose: Compose) -> dict[str, Any]:
    """The composed settings of a corpus, with its validation sets as settings of texts.

    Raises:
        SpecError: a set that is no path, option of `data`, or table such as {data: python, content: prose}.
    """
    asked = data.get("validation")
    if asked is None:
        return dict(data)
    is_named = isinstance(asked, Mapping) and not {"data", "source"} & asked.keys()
    named = asked if is_named else {MAIN: asked}
    return {**data, "validation": {name: _text(str(name), text, compose) for name, text in named.items()}}


def _text(name: str, asked: Any, compose: Compose) -> dict[str, Any] | None:
    """The settings of one text; None for the corpus's own."""
    if asked is None or asked == OWN:
        return None
    if not isinstance(asked, str | Mapping):
        raise SpecError(
            f"data.validation.{name} = {asked!r}: give a path, an option of data, or a table such as {{data: python}}."
        )
    further = dict(asked) if isinstance(asked, Mapping) else {}
    option = str(further.pop("data", "python")) if isinstance(asked, Mapping) else asked
    base = compose(option)
    if base is None and isinstance(asked, Mapping):
        raise SpecError(f"data.validation.{name}: data = {option!r} is not an option; see: scalesweep data --help.")
    if base is None:
        base, further = compose("files") or {}, {"paths": [asked]}
    return merged({**base, "tokenizer": {"kind": "bytes"}, "validation": None}, further)


def short(text: Mapping[str, Any] | None, compose: Compose) -> Any:
    """A validation set as it can be written again: `own`, or what differs from the settings of `python`."""
    if text is None:
        return OWN
    base = parse(DataSpec, _text("", {}, compose) or {}).model_dump(mode="json")
    own = {name: value for name, value in text.items() if name not in ("tokenizer", "validation", "cache")}
    return {name: value for name, value in own.items() if name == "source" or value != base[name]}
