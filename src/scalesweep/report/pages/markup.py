"""What pages are made of: templates, and numbers of a JSON file, rounded for people, with the full value and its path."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from scalesweep.report.tables import Writer, data_html
from scalesweep.units import format_number, format_within


@cache
def templates(package: str) -> Environment:
    """The files in templates/ of a package: everything is escaped but `Markup`; a name that is not there is an error."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def at_path(content: Any, path: str) -> Any:
    """The value at a dotted path; numbers in it are places in a list."""
    for key in path.split("."):
        content = content[int(key)] if isinstance(content, list | tuple) else content[key]
    return content


def number(content: Mapping[str, Any], path: str, write: Writer = format_number, missing: str = "–") -> Markup:
    """The number at a path of the file's content; null is `missing`."""
    value = at_path(content, path)
    return Markup.escape(missing) if value is None else data_html(value, write(value), path)


def interval(content: Mapping[str, Any], path: str, write: Writer = format_number) -> Markup:
    """The interval of the estimate at a path, or a dash where it has none; one end that is null is infinite, one that
    is a bound of the search is open.
    """
    ends = at_path(content, path)
    if ends is None or (ends["low"] is None and ends["high"] is None):
        return Markup("–")
    low, high = (
        "open" if ends.get(f"is_{end}_open") else number(content, f"{path}.{end}", write, "∞") for end in ("low", "high")
    )
    return Markup("[{}, {}]").format(low, high)


def digits(estimate: Mapping[str, Any]) -> Writer:
    """How an estimate of the file and its ends are written: with the digits that its interval allows, and at least two."""
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None:
        return format_number
    return lambda value: format_within(value, min((high - low) / 2, abs(value)))


def anchor(title: str) -> str:
    """The id of a heading."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
