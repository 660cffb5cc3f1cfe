"""The command line: sub-commands over one grammar of overrides, Hydra's; the only package that imports hydra and omegaconf.

Heavy modules are imported by the command that needs them, so that help and mistakes answer at once.
"""

import sys
from collections.abc import Callable, Mapping, Sequence

from scalesweep import __version__
from scalesweep.cli.help import command_help, main_help
from scalesweep.errors import EXIT_AGAIN, EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_OK, Requeue, ScaleSweepError, did_you_mean

Command = Callable[[list[str]], int]


def _commands() -> Mapping[str, Callable[[], Command]]:
    """Command names and how each is loaded."""

    def experiment(name: str) -> Callable[[], Command]:
        def load() -> Command:
            from scalesweep.cli import experiment as module

            return getattr(module, name)  # type: ignore[no-any-return]

        return load

    def analysis(name: str) -> Callable[[], Command]:
        def load() -> Command:
            from scalesweep.cli import analysis as module

            return getattr(module, name)  # type: ignore[no-any-return]

        return load

    def prediction(name: str) -> Callable[[], Command]:
        def load() -> Command:
            from scalesweep.cli import prediction as module

            return getattr(module, name)  # type: ignore[no-any-return]

        return load

    def manage(name: str) -> Callable[[], Command]:
        def load() -> Command:
            from scalesweep.cli import manage as module

            return getattr(module, name)  # type: ignore[no-any-return]

        return load

    def status() -> Command:
        from scalesweep.cli.status import status

        return status

    def worker() -> Command:
        from scalesweep.cli.worker import worker

        return worker

    def plot() -> Command:
        from scalesweep.cli.plot import plot

        return plot

    def train() -> Command:
        from scalesweep.cli.train import train

        return train

    def check() -> Command:
        from scalesweep.cli.check import check

        return check

    def model() -> Command:
        from scalesweep.cli.model import model

        return model

    return {
        "run": experiment("run"),
        "plan": experiment("plan"),
        "worker": worker,
        "status": status,
        "logs": manage("logs"),
        "retry": manage("retry"),
        "cancel": manage("cancel"),
        "export": manage("export"),
        "data": experiment("data"),
        "train": train,
        "fit": analysis("fit"),
        "report": analysis("report"),
        "plot": plot,
        "coverage": analysis("coverage"),
        "tournament": prediction("tournament"),
        "forecast": prediction("forecast"),
        "score": prediction("score"),
        "next": prediction("propose"),
        "check": check,
        "model": model,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; the return value is the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands = _commands()
    if not words or words[0] in ("-h", "--help", "help"):
        print(main_help(), end="")
        return EXIT_OK
    if words[0] == "--version":
        print(f"scalesweep {__version__}")
        return EXIT_OK
    name, rest = words[0], words[1:]
    if name not in commands:
        hint = did_you_mean(name, commands)
        print(f"scalesweep: {name!r} is not a command{hint}; the commands are {', '.join(commands)}.", file=sys.stderr)
        return EXIT_BAD_INPUT
    if name != "train" and any(word in ("-h", "--help") for word in rest):
        print(command_help(name), end="")
        return EXIT_OK
    try:
        return commands[name]()(rest)
    except ScaleSweepError as error:
        print(f"scalesweep: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt as reason:
        print("\nscalesweep: stopped; what was measured is kept, and the same command goes on from here.", file=sys.stderr)
        return EXIT_AGAIN if isinstance(reason, Requeue) else EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_OK
