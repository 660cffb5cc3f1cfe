"""Every setting by its dotted key, with its values where these are few."""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from scalesweep.settings.base import Spec
from scalesweep.settings.effect import REPEATED
from scalesweep.settings.settings import Settings


def keys(spec: type[Spec] = Settings, prefix: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each setting, and the words that it may be; none where it may be any number or text."""
    found: dict[str, tuple[str, ...]] = {}
    for name, field in spec.model_fields.items():
        tables = [kind for kind in _kinds(field.annotation) if isinstance(kind, type) and issubclass(kind, Spec)]
        is_list = any(get_origin(kind) is tuple for kind in _kinds(field.annotation))
        for table in tables if not is_list else ():
            found |= dict(keys(table, f"{prefix}{name}."))
        if is_list or not tables:
            found[f"{prefix}{name}"] = tuple(_words(field.annotation))
    yield from ((key, words) for key, words in found.items() if key not in REPEATED)


def _kinds(annotation: Any) -> Iterator[Any]:
    """The alternatives of a field's type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for inner in get_args(annotation):
            yield from _kinds(inner)
    else:
        yield annotation


def _words(annotation: Any) -> Iterator[str]:
    for kind in _kinds(annotation):
        if get_origin(kind) is Literal:
            yield from map(str, get_args(kind))
        elif kind is bool:
            yield from ("true", "false")
        elif kind is type(None):
            yield "null"
