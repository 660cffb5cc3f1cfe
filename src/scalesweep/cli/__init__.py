"""The command line: sub-commands over one grammar of overrides, Hydra's; the only package that imports hydra and omegaconf.

Heavy modules are imported by the command that needs them, so that help and mistakes answer at once.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable, Sequence

from scalesweep.cli.help import command_help, main_help
from scalesweep.cli.output import forgiving_output
from scalesweep.cli.paths import refusal
from scalesweep.errors import EXIT_AGAIN, EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_OK, Requeue, ScaleSweepError, did_you_mean
from scalesweep.version import __version__

Command = Callable[[list[str]], int]
_COMMANDS = {
    "run": "experiment.run",
    "plan": "experiment.plan",
    "worker": "worker.worker",
    "status": "status.status",
    "logs": "manage.logs",
    "retry": "manage.retry",
    "cancel": "manage.cancel",
    "export": "manage.export",
    "data": "experiment.data",
    "train": "train.train",
    "fit": "analysis.fit",
    "report": "analysis.report",
    "plot": "plot.plot",
    "coverage": "analysis.coverage",
    "tournament": "prediction.tournament",
    "forecast": "prediction.forecast",
    "score": "prediction.score",
    "next": "prediction.propose",
    "check": "check.check",
    "model": "model.model",
}
"""Module of this package and function of each command."""
_MEASURING = ("run", "worker", "train")
"""They go on to their end also when nobody reads what they print."""


def _load(name: str) -> Command:
    module, function = _COMMANDS[name].split(".")
    command: Command = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; the return value is the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(main_help(), end="")
        return EXIT_OK
    if words[0] == "--version":
        print(f"scalesweep {__version__}")
        return EXIT_OK
    name, rest = words[0], words[1:]
    if name not in _COMMANDS:
        hint = did_you_mean(name, _COMMANDS)
        print(f"scalesweep: {name!r} is not a command{hint}; the commands are {', '.join(_COMMANDS)}.", file=sys.stderr)
        return EXIT_BAD_INPUT
    if name != "train" and any(word in ("-h", "--help") for word in rest):
        print(command_help(name), end="")
        return EXIT_OK
    with forgiving_output() if name in _MEASURING else contextlib.nullcontext():
        return _answer(name, rest)


def _answer(name: str, rest: list[str]) -> int:
    """The exit code of one command; what ends it is said in one line."""
    try:
        return _load(name)(rest)
    except ScaleSweepError as error:
        print(f"scalesweep: {error}", file=sys.stderr)
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
