"""The reviewer's checklist: what a reviewer asks of an empirical law, answered by the harness from what it holds.

An answer is made of the analysis, the points and the facts of the experiment; what none of them says is "not measured", with
what would measure it. The questions follow "(Mis)Fitting" (arXiv 2502.18969) and the replications of scaling laws since.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.conventions import Convention, Counted, under_conventions
from scalesweep.report.context import ReportContext
from scalesweep.report.review import answers, answers_fit, answers_studies
from scalesweep.report.review.evidence import Answer, Evidence, Status
from scalesweep.report.review.published import PublishedRow, studies_of
from scalesweep.report.tables import Label, Table

_Answering = Callable[[Evidence], Answer]
_QUESTIONS: Sequence[tuple[str, _Answering]] = (
    ("Exact form, variables and units?", answers.form),
    ("N by every convention, and what the conclusion owes to it?", answers.params),
    ("FLOP formula; head and attention in it?", answers.flops),
    ("Runs, sizes, budgets, spans, tokens per parameter, conditioning, cost?", answers.design),
    ("Data: hash, duplicates, unique tokens, epochs, order?", answers.data),
    ("Validation set: size, standard error, the same for all?", answers.validation),
    ("Hyper-parameter search: settings, inner optimum, regret?", answers.tuning),
    ("Warm-up share; does each run decay to its own end?", answers.schedule),
    ("Seeds, variance, hardware, precision, versions?", answers.seeds),
    ("Which points enter, and what does removing one change?", answers_fit.entering),
    ("Objective, width, starts, bounds, convergence, other minima?", answers_fit.objective),
    ("Alternatives fitted, their ranking, residuals?", answers_fit.alternatives),
    ("Intervals: how; correlations; is E identified?", answers_fit.intervals),
    ("Larger scale held out: error, coverage, baselines; sealed?", answers_fit.held_out),
    ("How far is extrapolated, and when not?", answers_fit.extrapolation),
    ("Do lower envelope, IsoFLOP minima and fitted law agree?", answers_fit.approaches),
    ("Comparisons as multipliers with intervals, A/A test?", answers_fit.multipliers),
    ("Emergence: continuous metric, resolution, seeds?", answers_studies.tasks),
    ("Limited data: repeats, fresh controls?", answers.repeats),
    ("Sampling: samples, pass@k estimator, temperature?", answers_studies.sampling),
    ("Energy and cost, search included?", answers.energy),
    ("Code, raw table, environment, one command?", answers.code),
    ("The same pipeline on a source of known entropy?", answers_studies.known_source),
)


@dataclass(frozen=True)
class ChecklistRow:
    """One question with its answer."""

    number: int
    question: str
    answer: str
    """What is known, and what would answer the rest."""
    status: Status


@dataclass(frozen=True, eq=False)
class Reviewed:
    """Published values beside those of the analysis, and the checklist."""

    studies: tuple[PublishedRow, ...]
    checklist: tuple[ChecklistRow, ...]


def review(
    analysis: Analysis, context: ReportContext, counted: Mapping[Convention, Counted] | None = None
) -> tuple[ChecklistRow, ...]:
    """The 23 questions, answered.

    Args:
        analysis: what was found.
        context: what is known of the experiment.
        counted: `under_conventions(analysis, context.counts)` where it is already known.
    """
    seen = Evidence(analysis, context, counted or under_conventions(analysis, context.counts))
    found = [(question, answering(seen)) for question, answering in _QUESTIONS]
    return tuple(ChecklistRow(i, question, a.sentences, a.status) for i, (question, a) in enumerate(found, start=1))


def count_status(rows: Sequence[ChecklistRow]) -> str:
    """How many are answered, partly answered and not measured, in a sentence."""
    counts = Counter(row.status for row in rows)
    return f"{counts['answered']} of {len(rows)} answered, {counts['partly']} partly, {counts['not measured']} not measured."


def checklist_table(rows: Sequence[ChecklistRow]) -> Table:
    """The rows with the status as a label."""
    body = tuple((str(row.number), row.question, Label(row.status), row.answer) for row in rows)
    return Table(("", "question", "status", "answer"), body, kinds=("text", "words", "text", "words"))


def reviewed(analysis: Analysis, context: ReportContext) -> Reviewed:
    """Refit exponents under every count that the points know, and answer the checklist."""
    counted = under_conventions(analysis, context.counts)
    return Reviewed(studies_of(counted), review(analysis, context, counted))


__all__ = ["ChecklistRow", "checklist_table", "count_status", "review"]
