"""The texts of --help, written from the declarations; the options of each config group are read from its directory."""

from collections.abc import Iterable

from scalesweep.cli.command import Command
from scalesweep.settings.compose import config_dir
from scalesweep.settings.own import CONFIG_DIR


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
    told = [(option.spelling, option.about) for option in command.options or () if option.about]
    told += (
        [(f"{CONFIG_DIR} DIR", "Your own options of these groups, DIR/GROUP/NAME.yaml (docs/own.md).")]
        if command.groups
        else []
    )
    if told:
        width = max(len(spelling) for spelling, _ in told)
        lines += ["", "Options:", *(f"  {spelling:{width}}  {about}" for spelling, about in told)]
    if command.groups:
        lines += ["", "Config groups (choose with group=option, change a setting with group.key=value):"]
        for group in command.groups:
            lines.append(f"  {group:9} {' | '.join(sorted(path.stem for path in (config_dir() / group).glob('*.yaml')))}")
    lines += ["", "Examples:", *(f"  {example}" for example in command.examples)]
    if command.groups:
        lines += ["", f"The settings, with comments: {config_dir()}"]
    return "\n".join(lines) + "\n"
