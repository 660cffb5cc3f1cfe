"""The texts of --help, written from the declarations; the options of each config group are read from its directory."""

import re
from collections.abc import Iterable, Iterator
from typing import Literal, get_args, get_origin

from omegaconf import OmegaConf

from scalesweep.cli.command import Command
from scalesweep.settings.compose import config_dir
from scalesweep.settings.own import CONFIG_DIR
from scalesweep.settings.settings import Settings


def main_help(commands: Iterable[Command]) -> str:
    """The text of `scalesweep --help`."""
    lines = ["scalesweep: measure, fit and report empirical scaling laws of small transformers.", "", "Commands:"]
    lines += [f"  {command.name:10} {command.about}" for command in commands]
    more = "`scalesweep COMMAND --help` shows a command's options, config groups and examples."
    lines += ["", f"{more} Start with: scalesweep run"]
    return "\n".join(lines) + "\n"


def command_help(command: Command) -> str:
    """The text of `scalesweep NAME --help`."""
    lines = [f"usage: scalesweep {command.name} {command.usage}", "", command.about]
    lines += [command.notes] if command.notes else []
    told = [
        ("FILE.yaml", "Your own sweep file, under the settings of the command line (docs/sweep_file.md).")
    ] * command.takes_file
    told += [(option.spelling, option.about) for option in command.options or () if option.about]
    told += (
        [(f"{CONFIG_DIR} DIR", "Your own options of these groups, DIR/GROUP/NAME.yaml; ./configs is looked into without it.")]
        if command.groups
        else []
    )
    if told:
        width = max(len(spelling) for spelling, _ in told)
        lines += ["", "Options:", *(f"  {spelling:{width}}  {about}" for spelling, about in told)]
    options = {group: sorted(path.stem for path in (config_dir() / group).glob("*.yaml")) for group in command.groups}
    if any(len(names) > 1 for names in options.values()):
        lines += ["", "Config groups (choose with group=option, change a setting with group.key=value):"]
        lines += [f"  {group:9} {' | '.join(names)}" for group, names in options.items()]
    elif options:  # none to choose from: what matters are the settings
        lines += ["", "Settings, with their defaults:", *_settings(command.groups)]
    lines += ["", "Examples:", *(f"  {example}" for example in command.examples)]
    if command.groups:
        lines += ["", f"The settings, with comments: {config_dir()}"]
    return "\n".join(lines) + "\n"


def _settings(groups: Iterable[str]) -> Iterator[str]:
    """A line for each setting of these groups: its default, and the first sentence of what it means."""
    told = []
    for group in groups:
        defaults, spec = OmegaConf.load(config_dir() / group / "default.yaml"), Settings.model_fields[group].annotation
        for name, field in getattr(spec, "model_fields", {}).items():
            about = " ".join((field.description or "").split())
            default, choices = defaults.get(name), get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            meaning = re.split(r"(?<=\w)[.;:] ", about)[0].rstrip(".") + (f": {', '.join(choices)}" if choices else "")
            told.append((f"{group}.{name}={'null' if default is None else default}", meaning))
    width = max(len(spelling) for spelling, _ in told)
    return (f"  {spelling:{width}}  {meaning}." for spelling, meaning in told)
