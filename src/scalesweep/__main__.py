"""`python -m scalesweep` is `scalesweep`."""

from scalesweep.cli import main
from scalesweep.process import leave


def run() -> None:
    """One command in a process of its own."""
    leave(main())


if __name__ == "__main__":
    run()
