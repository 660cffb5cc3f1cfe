"""Rewrites what docs/ repeats of the code; takes no argument.

The tables of docs/configuration.md come from the settings' types, their docstrings and configs/, that of docs/warnings.md from
report/review/warnings.toml, docs/commands.md from the declarations of the commands.
"""

import html
import json
import textwrap
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pydantic.fields import FieldInfo

from scalesweep.cli import NAMES, load_command
from scalesweep.cli.command import Command
from scalesweep.settings.base import Ladder, Range, Shape, Spec, parse_quantity
from scalesweep.settings.data import PartSpec, TransformSpec
from scalesweep.settings.effect import REPEATED
from scalesweep.settings.settings import Settings
from scalesweep.settings.tune import LrLaw, TuneSpec

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
COMMANDS = ROOT / "docs" / "commands.md"
WARNINGS = ROOT / "docs" / "warnings.md"
MEANINGS = ROOT / "src" / "scalesweep" / "report" / "review" / "warnings.toml"
WORDS = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text", type(None): "`null`", dict: "table"}
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "multiple_of": "a multiple of", "pattern": "like"}
HEAD = "| key | default | allowed | meaning |\n| --- | --- | --- | --- |\n"


def render() -> str:
    """The page: the text above its first section as it stands, then a section for each group of settings."""
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        values: Any = OmegaConf.to_container(compose("run"), resolve=False)
    parts = [
        PAGE.read_text(encoding="utf-8").split("\n\n## ")[0],
        "## Without a group",
        HEAD + "".join(_rows(Settings, values)),
    ]
    for name, field in Settings.model_fields.items():
        tables = _tables(field.annotation)
        for first in tables[:1]:
            options = "\n".join(_option(path) for path in sorted((ROOT / "configs" / name).glob("*.yaml")))
            parts += [f"## {name}", str(first.__doc__), options, HEAD + "".join(_rows(first, values[name], f"{name}."))]
        for spec, option in zip(tables[1:], ("hf", "custom"), strict=False):  # what other models take
            own: Any = OmegaConf.to_container(OmegaConf.load(ROOT / "configs" / name / f"{option}.yaml"))
            parts += [f"### {name}={option}", str(spec.__doc__), HEAD + "".join(_rows(spec, own[name], f"{name}."))]
    forms = [*_rows(Ladder, {}, "sweep.sizes."), *_rows(Shape, {}, "sweep.sizes[i].")]
    tuned = [
        *_rows(TuneSpec, {}, "sweep.tune."),
        *_rows(Range, {}, "sweep.tune.GROUP.KEY."),
        *_rows(LrLaw, {}, "recipe.lr_law."),
    ]
    own = [row for row in _rows(PartSpec, {}, "data.parts[i].") if ".weight`" in row]  # the others are those of a text, above
    changes = [*own, *_rows(TransformSpec, {}, "data.transform.")]
    about = "What they do: [data.md](data.md). A part takes the settings of a text as well."
    parts += ["## Tables in data.parts and data.transform", about, HEAD + "".join(changes)]
    parts += ["## Tables in sweep.sizes", HEAD + "".join(forms)]
    parts += ["## Tables in sweep.tune and recipe.lr_law", "What they are for: [tuning.md](tuning.md).", HEAD + "".join(tuned)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def render_warnings() -> str:
    """The page of warnings: its table from the file of meanings, the text around it as it stands."""
    before, table, after = WARNINGS.read_text(encoding="utf-8").partition("| code | says |")
    assert table, "docs/warnings.md has lost the head of its table"
    rows = tomllib.loads(MEANINGS.read_text(encoding="utf-8"))
    lines = [f"| {code} | {row['says']} | {row['why']} | {row['remedy']} |\n" for code, row in rows.items()]
    head = "| code | says | why it matters | what to do |\n|---|---|---|---|\n"
    return before + head + "".join(lines) + "\n" + after.partition("\n\n")[2]


def render_commands() -> str:
    """The page of commands: the text above its first section as it stands, then a section for each command."""
    head = COMMANDS.read_text(encoding="utf-8").split("\n\n## ")[0].strip()
    return "\n\n".join([head, *(_command(load_command(name)) for name in NAMES)]) + "\n"


def _command(command: Command) -> str:
    """What --help says of a command."""
    told = [(option.spelling, option.about) for option in command.options or () if option.about]
    rows = [f"| {_code(name)} | {about.replace('|', chr(92) + '|')} |" for name, about in told]
    usage = textwrap.wrap(f"scalesweep {command.name} {command.usage}", 88, subsequent_indent="    ", break_on_hyphens=False)
    groups = ", ".join(f"[{group}](configuration.md#{group})" for group in command.groups)
    parts = [
        f"## {command.name}",
        command.about,
        "\n".join(["```text", *usage, "```"]),
        "\n".join(["| option | meaning |", "| --- | --- |", *rows]) if rows else "",
        f"Groups of settings: {groups}." if groups else "",
        f"```text\n{command.notes.strip()}\n```" if command.notes else "",
        "\n".join(["```sh", *command.examples, "```"]) if command.examples else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _code(text: str) -> str:
    """Code in the cell of a table; a bar in it is escaped by one reader of Markdown and shown with its escape by another."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def _rows(spec: Any, values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, field in spec.model_fields.items():
        if f"{prefix}{name}" in REPEATED:
            continue
        if not (tables := _tables(field.annotation)):
            default = f"`{json.dumps(values[name])}`".replace('"', "") if name in values else ""
            meaning = " ".join(field.description.split())
            yield f"| `{prefix}{name}` | {default} | {_allowed(field.annotation, field.metadata)} | {meaning} |\n"
        elif prefix:  # a table inside a group; the groups themselves have sections
            yield from _rows(tables[0], values[name], f"{prefix}{name}.")


def _tables(kind: Any) -> list[type[Spec]]:
    """The tables that a setting may be; none where it may be something else."""
    kinds = [get_args(k)[0] if get_origin(k) is Annotated else k for k in (get_args(kind) or [kind])]
    return kinds if all(isinstance(k, type) and issubclass(k, Spec) for k in kinds) else []


def _allowed(kind: Any, metadata: Iterable[Any] = ()) -> str:
    """The values of a type in words."""
    origin, inner = get_origin(kind), get_args(kind)
    rules = [rule for item in metadata for rule in (item.metadata if isinstance(item, FieldInfo) else [item])]
    if origin is Annotated:
        return _allowed(inner[0], inner[1:])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        return f"list of ({_allowed(inner[0])})"
    if inner and origin is not dict:
        return " or ".join(map(_allowed, inner))
    if any(getattr(rule, "func", None) is parse_quantity for rule in rules):
        return "count" if kind is int else "amount"
    found = [(name, value) for rule in rules for name in SIGNS if (value := getattr(rule, name, None)) is not None]
    # A pattern is code: in plain text, its brackets would be a link.
    limits = [f"{SIGNS[name]} {f'`{value}`' if name == 'pattern' else value}" for name, value in found]
    return f"{WORDS.get(origin or kind, 'table')} {', '.join(limits)}".strip()


def _option(path: Path) -> str:
    """A file of a group with the first line of its comments."""
    comments = [line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    about = next((f": {line}" for line in comments if not line.startswith("@package")), "")
    return f"- [{path.parent.name}={path.stem}](../{path.relative_to(ROOT).as_posix()}){about}"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    COMMANDS.write_text(render_commands(), encoding="utf-8")
    WARNINGS.write_text(render_warnings(), encoding="utf-8")
