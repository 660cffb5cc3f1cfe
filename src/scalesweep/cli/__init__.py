"""The command line: sub-commands, each declared in the module of its function, over one grammar of overrides, Hydra's.

torch, pandas, scipy and matplotlib are imported by what uses them, so that help and mistakes answer at once.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

from scalesweep.cli.command import Command
from scalesweep.cli.help import command_help, main_help
from scalesweep.cli.output import forgiving_output, spell_out
from scalesweep.cli.paths import refusal
from scalesweep.errors import (
    EXIT_AGAIN,
    EXIT_BAD_INPUT,
    EXIT_DEVICE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    DeviceLost,
    Requeue,
    ScaleSweepError,
    did_you_mean,
)
from scalesweep.packages import MEASURING, lacking
from scalesweep.version import __version__

_MODULES = {
    "run": "experiment",
    "resume": "experiment",
    "plan": "experiment",
    "worker": "worker",
    "status": "status",
    "logs": "manage",
    "retry": "manage",
    "cancel": "manage",
    "export": "manage",
    "fit": "analysis",
    "report": "analysis",
    "plot": "plot",
    "coverage": "analysis",
    "tournament": "prediction",
    "forecast": "prediction",
    "score": "prediction",
    "next": "prediction",
    "study": "study",
    "check": "check",
    "model": "model",
    "train": "train",
    "data": "data",
    "completion": "completion",
}
"""Where each command is declared, in the order of --help."""
NAMES = tuple(_MODULES)


def load_command(name: str) -> Command:
    """The declaration of a command."""
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    found: Command = next(declared for declared in module.COMMANDS if declared.name == name)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; the return value is the exit code."""
    spell_out()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(main_help(map(load_command, NAMES)), end="")
        return EXIT_OK
    if words[0] == "--version":
        print(f"scalesweep {__version__}")
        return EXIT_OK
    name, rest = words[0], words[1:]
    if name not in NAMES:
        hint = did_you_mean(name, NAMES)
        print(f"scalesweep: {name!r} is not a command{hint}; the commands are {', '.join(NAMES)}.", file=sys.stderr)
        return EXIT_BAD_INPUT
    chosen = load_command(name)
    if chosen.options is not None and any(word in ("-h", "--help") for word in rest):
        print(command_help(chosen), end="")
        return EXIT_OK
    try:
        os.getcwd()
    except OSError as error:
        print(f"scalesweep: the working directory is gone ({error.strerror}); change to one that is there.", file=sys.stderr)
        return EXIT_BAD_INPUT
    with forgiving_output() if chosen.is_measuring else contextlib.nullcontext():
        return _answer(chosen, rest)


def _answer(chosen: Command, rest: Sequence[str]) -> int:
    """The exit code of one command; what ends it is said in one line."""
    try:
        return chosen(rest)
    except ScaleSweepError as error:
        print(f"scalesweep: {error}", file=sys.stderr)
        return EXIT_DEVICE if isinstance(error, DeviceLost) else EXIT_BAD_INPUT
    except ModuleNotFoundError as error:
        if error.name not in MEASURING:
            raise
        print(f"scalesweep: {chosen.name} needs {lacking(error.name)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt as reason:
        print("\nscalesweep: stopped; what was measured is kept, and the same command goes on from here.", file=sys.stderr)
        return EXIT_AGAIN if isinstance(reason, Requeue) else EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_OK
    except OSError as error:
        if (sentence := refusal(error)) is None:
            raise
        print(f"scalesweep: {sentence}", file=sys.stderr)
        return EXIT_BAD_INPUT
