"""The commands that fit and report, from a sweep's directory or from a table of points."""

from collections.abc import Sequence
from pathlib import Path

from scalesweep.analysis.analyse import analyse
from scalesweep.cli.laws import print_analysis, print_fit
from scalesweep.errors import EXIT_OK, SpecError
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.report import write_report
from scalesweep.report.words.summary import summary
from scalesweep.sweep.extend import keep_frontier
from scalesweep.sweep.subject import read_subject, write


def fit(arguments: Sequence[str]) -> int:
    """Fit, print all that was found, and write the report with its figures and tables."""
    subject = read_subject(arguments, "fit")
    if subject.context.tuning:
        print(f"{subject.context.tuning}\n", flush=True)
    keep_frontier(subject.directory, subject.context)
    analysis = analyse(subject.points, subject.spec)
    print_analysis(analysis)
    page = write_report(subject.directory, analysis, subject.context)
    print(f"\nWritten to {page.parent}: report.html, report.md, fit.json, laws.csv, laws.tex, figures/")
    return EXIT_OK


def coverage(arguments: Sequence[str]) -> int:
    """Simulate how often the intervals of this very design cover the truth."""
    from scalesweep.fit.coverage import coverage as simulate

    rest, replicates = _take_number(arguments, "replicates", 100)
    subject = read_subject(rest, "coverage")
    print(summary(simulate(subject.points, subject.spec, replicates)))
    return EXIT_OK


def _take_number(arguments: Sequence[str], name: str, default: int) -> tuple[list[str], int]:
    """The arguments without NAME=NUMBER, and the number."""
    rest = [word for word in arguments if not word.startswith(f"{name}=")]
    values = [word.split("=", 1)[1] for word in arguments if word.startswith(f"{name}=")] or [str(default)]
    if not values[-1].isdigit() or int(values[-1]) < 1:
        raise SpecError(f"{name} = {values[-1]!r}: must be a whole number of at least 1, such as {name}={default}.")
    return rest, int(values[-1])


def report(arguments: Sequence[str]) -> int:
    """Fit and write the report."""
    subject = read_subject(arguments, "report")
    print_law(write(subject))
    return EXIT_OK


def print_law(written: tuple[SweepFit, Path]) -> None:
    """The law with its intervals, and where the report is."""
    result, path = written
    print()
    print_fit(result)
    print(f"\nReport: {path}", flush=True)
