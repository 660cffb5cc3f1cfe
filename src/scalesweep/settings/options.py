"""Options of a group as values of an axis, such as `sweep.axes.optim=[adamw,muon]`.

What an option sets is written in the files of configs/, which nothing below `settings.compose` reads. So each value of such an
axis becomes a table of what was asked for and of all the settings that it stands for, and a stored sweep needs no file:

    asked    adamw, or {data: python, content: prose}: an option with further settings; without one, those of the chosen option
    values   every setting of the group
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.settings.settings import parse_settings

Compose = Callable[[str, str], Mapping[str, Any]]
"""Takes a group and one of its options; gives the group's settings under all other overrides."""
Finish = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Takes a group and settings of it as they were written; writes out what in them names options too."""


def with_options(values: Mapping[str, Any], compose: Compose, finish: Finish) -> dict[str, Any]:
    """The composed values of a sweep with the options of its axes composed too.

    The settings of such a group itself become those of the first value, so that none that no cell has are stored.

    Raises:
        SpecError: an option that is not there, or a setting that it cannot have.
    """
    found, sweep = dict(values), dict(values.get("sweep") or {})
    axes = dict(sweep.get("axes") or {})
    for group, choices in axes.items():
        if isinstance(choices, list | tuple) and isinstance(values.get(group), Mapping):
            asked = [_composed(group, choice, values[group], compose, finish) for choice in choices]
            axes[group] = [{**value, "values": _validated(values, group, value["values"])} for value in asked]
            if axes[group]:
                found[group] = axes[group][0]["values"]
    return {**found, "sweep": {**sweep, "axes": axes}} if axes else found


def _composed(group: str, choice: Any, chosen: Mapping[str, Any], compose: Compose, finish: Finish) -> dict[str, Any]:
    if is_option(choice):
        return dict(choice)
    if not isinstance(choice, str | Mapping):
        raise SpecError(
            f"sweep.axes.{group}: {choice!r} is no option; give names of options, or tables such as {{{group}: NAME}}."
        )
    further = dict(choice) if isinstance(choice, Mapping) else {group: choice}
    option = further.pop(group, None)
    try:
        base = chosen if option is None else compose(group, str(option))
    except SpecError as error:
        raise SpecError(f"sweep.axes.{group}: {error}") from None
    return {"asked": choice, "values": finish(group, merged(base, further))}


def _validated(values: Mapping[str, Any], group: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the group as they are stored, quantities as numbers."""
    alone = {**values, "sweep": {**values["sweep"], "axes": {}}, group: chosen}
    try:
        return dict(getattr(parse_settings(alone), group).model_dump(mode="json"))
    except SpecError as error:
        raise SpecError(f"sweep.axes.{group}: {error}") from None


def merged(base: Mapping[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `base`, those that `further` names replaced; tables within tables likewise."""
    new = {
        name: merged(base[name], value) if isinstance(value, Mapping) and isinstance(base.get(name), Mapping) else value
        for name, value in further.items()
    }
    return {**base, **new}


def is_option(value: Any) -> bool:
    """Whether a value of an axis is an option of a group that was composed."""
    return isinstance(value, Mapping) and value.keys() == {"asked", "values"}


def label(value: Any, group: str = "") -> Any:
    """A value of an axis in a column and for people: a number or a word as it is, a table as `bpe vocab_size=512`."""
    if is_option(value):
        return label(value["asked"], group)
    if isinstance(value, Mapping):
        named = [str(value[name]) for name in (group, "kind") if name in value]
        rest = {name: inner for name, inner in value.items() if name not in (group, "kind")}
        return " ".join([*named, *(f"{name}={inner}" for name, inner in _leaves(rest) if inner is not None)]) or "default"
    return str(list(value)) if isinstance(value, list | tuple) else value


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
