"""The commands that fit and report, from a sweep's directory or from a table of points."""

import shlex
from pathlib import Path

from scalesweep.cli.answer import FAIL_ON, JSON, Answer, answered, doubts_of
from scalesweep.cli.command import FIGURES, TABLE_NOTES, Command, Given, Option, whole
from scalesweep.cli.laws import print_analysis, print_fit
from scalesweep.cli.output import working
from scalesweep.errors import EXIT_OK
from scalesweep.report import write_tables
from scalesweep.report.verdicts import certificate_line
from scalesweep.report.words.fit import wrap
from scalesweep.report.words.summary import summary
from scalesweep.sweep.extend import keep_frontier
from scalesweep.sweep.subject import FITTING, read_subject, write


def fit(given: Given) -> Answer:
    """Fit, print all that was found, and write it as fit.json and tables; the page is `report`'s."""
    subject = read_subject(given.words, "fit")
    if read := subject.context.provenance.get("read"):
        print(f"{wrap(f'Read: {read}', '')}\n", flush=True)
    if subject.context.tuning:
        print(f"{subject.context.tuning}\n", flush=True)
    keep_frontier(subject.directory, subject.context)
    with working(FITTING):
        analysis = subject.analyse()
    print_analysis(analysis)
    earlier = _content(subject.directory / "fit.json")
    names = write_tables(subject.directory, analysis, subject.context)
    print(f"\n{wrap(f'Pipeline: {certificate_line(subject.context.verdicts)}', '')}")
    print(f"\nWritten to {subject.directory}: {', '.join(names)}.")
    again = shlex.join(["scalesweep", "report", *given.words])
    if not (subject.directory / "report.html").is_file():
        print(f"The page with its figures: {again}")
    elif earlier != _content(subject.directory / "fit.json"):
        print(f"report.html there shows an earlier fit; to make it again: {again}")
    content = {"directory": str(subject.directory), "files": list(names), "fit": analysis.to_dict()}
    return Answer(content, doubts=doubts_of(analysis))


_NOTES = f"""{TABLE_NOTES}
by=arch fits the rows of each value of a column their own laws, with the compute multiplier between them.
Of a sweep with axes of data each arm has its own law: arm=NAME takes one alone, by=none pools all."""

FIT = Command(
    "fit",
    about="Fit a sweep's directory or a table; print laws, rivals, back-test and warnings, write fit.json and tables.",
    usage="DIR|POINTS|points=STUDY [fit.key=value ...] [tune=COLUMN,...] [by=COLUMN] [dir=PLACE] [fail_on=A08,weak] [--json]",
    run=answered(fit),
    examples=(
        "scalesweep fit runs/demo",
        "scalesweep fit points.csv fit.huber_delta=0.001",
        "scalesweep fit points.csv tune=lr,batch_size",
        "scalesweep fit points.csv by=arch",
        "scalesweep fit points=chinchilla fit.bootstrap=4000 fit.confidence=0.95",
        "scalesweep fit runs/demo fail_on=A08,weak --json",
    ),
    groups=("fit", "report"),
    options=(FAIL_ON, JSON),
    notes=_NOTES,
)

REPLICATES = Option("replicates", whole, 100, "Designs to simulate (default 100).", "NUMBER")


def coverage(given: Given) -> int:
    """Simulate how often the intervals of this very design cover the truth."""
    from scalesweep.fit.coverage import coverage as simulate

    subject = read_subject(given.words, "coverage")
    with working(f"simulating {given[REPLICATES]} designs of each kind of noise"):
        found = simulate(subject.points, subject.spec, given[REPLICATES])
    print(summary(found))
    return EXIT_OK


COVERAGE = Command(
    "coverage",
    about="Simulate how often the intervals of a design cover the truth, under several kinds of noise.",
    usage="DIR|POINTS|points=STUDY [replicates=NUMBER] [fit.key=value ...]",
    run=coverage,
    examples=(
        "scalesweep coverage runs/demo",
        "scalesweep coverage points.csv replicates=400",
        "scalesweep coverage points.csv fit.confidence=0.95 fit.bootstrap=400",
    ),
    groups=("fit",),
    options=(REPLICATES,),
    notes=TABLE_NOTES,
)


def report(given: Given) -> int:
    """Fit and write the report."""
    subject = read_subject(given.words, "report")
    analysis, page = write(subject, given[FIGURES], during=working)
    if analysis.families is None:
        print()
        print_fit(analysis.fit)
    else:
        print_analysis(analysis)
    print(f"\nReport: {page}", flush=True)
    return EXIT_OK


REPORT = Command(
    "report",
    about="Fit, print the laws alone, and write the page: report.html, report.md, figures, fit.json and tables.",
    usage="DIR|POINTS|points=STUDY [fit.key=value ...] [tune=COLUMN,...] [by=COLUMN] [report.title=...] [figures=none|png|all] "
    "[dir=PLACE]",
    run=report,
    examples=(
        "scalesweep report runs/demo",
        "scalesweep report runs/demo report.title=my_first_law",
        "scalesweep report points.csv",
    ),
    groups=("fit", "report"),
    options=(FIGURES,),
    notes=_NOTES,
)
COMMANDS = (FIT, COVERAGE, REPORT)


def _content(path: Path) -> bytes:
    """The bytes of a file; none where there is no file."""
    return path.read_bytes() if path.is_file() else b""
