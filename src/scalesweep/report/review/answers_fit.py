"""Answers of the checklist on the fit: points, objective, rivals, intervals, back-test, extrapolation, approaches."""

import math
from itertools import combinations

import numpy as np

from scalesweep.analysis.forecast.backtest import Outcomes
from scalesweep.analysis.forecast.rivals import TITLES
from scalesweep.errors import Refused
from scalesweep.fit.forms import fit_form
from scalesweep.fit.results import Fit
from scalesweep.fit.solve.objectives import Objective
from scalesweep.laws import Chinchilla, JointLaw
from scalesweep.report.figures.comparisons import LABELS
from scalesweep.report.review.answers import rows
from scalesweep.report.review.evidence import Answer, Evidence, from_studies, percent
from scalesweep.report.words.fit import interval
from scalesweep.units import format_count, format_number, format_share

_RESAMPLE = "fit.bootstrap=1000"
_DESIGN = "several sizes at several tokens per parameter each."


def entering(seen: Evidence) -> Answer:
    """10. Which points enter, and what the furthest one does."""
    fit = seen.analysis.fit.fits.get("joint")
    if fit is None:
        return Answer(f"{rows(seen)} There is no joint law to remove a point from.", "partly", _DESIGN)
    return Answer(f"{rows(seen)} {_without_furthest(seen, fit)}", "answered")


def _without_furthest(seen: Evidence, fit: Fit) -> str:
    """The additive law without the row of the largest residual."""
    points, law = seen.points, fit.law
    assert isinstance(law, JointLaw)
    residual = np.log(points.loss) - np.log(law.predict(points.n, points.d))
    worst = int(np.argmax(np.abs(residual)))
    keep = np.arange(len(residual)) != worst
    columns, width = {"N": points.n[keep], "D": points.d[keep]}, Objective("huber", fit.huber_delta)
    without = fit_form(Chinchilla, columns, points.loss[keep], objective=width).law
    moved = ", ".join(
        f"{name} from {format_number(getattr(law, name))} to {format_number(getattr(without, name))}"
        for name in ("alpha", "beta", "E")
    )
    where = f"N = {format_count(points.n[worst])}, D = {format_count(points.d[worst])}"
    return f"Without the largest residual ({percent(residual[worst])} at {where}) the additive law moves {moved}."


def objective(seen: Evidence) -> Answer:
    """11. Objective, width, starts, bounds, convergence, minima."""
    fit = seen.analysis.fit.preferred
    if fit is None:
        return Answer(f"No joint law was fitted: {seen.analysis.fit.refusal}", "not measured", _DESIGN)
    delta = f", delta {format_number(fit.huber_delta)}" if fit.huber_delta is not None else ""
    text = f"{fit.objective.words}{delta}: {fit.objective_value:.6g}. {' '.join((fit.status.value, *fit.messages))}"
    text += _other_objectives(seen)
    found = fit.search
    assert found is not None  # of a joint law
    test = "met" if found.converged else "not met"
    bounds = f"at bounds: {', '.join(found.at_bound)}" if found.at_bound else "no parameter at a bound"
    return Answer(
        f"{text} {found.num_agreeing} of {found.num_starts} starts reached the same minimum; gradient test {test}; {bounds}.",
        "answered",
    )


def _other_objectives(seen: Evidence) -> str:
    """What warning A11 says, or what its absence means; nothing without intervals to compare with."""
    whole = seen.analysis.fit
    if found := next((finding.text for finding in whole.findings if finding.code == "A11"), ""):
        return f" {found}"
    additive = whole.fits.get("joint")
    if additive is None or not len(additive.samples):
        return ""
    return " Least squares and absolute residuals leave the additive law's exponents inside their intervals."


def alternatives(seen: Evidence) -> Answer:
    """12. Rivals, criteria, residuals."""
    result = seen.analysis.tournament
    if isinstance(result, Refused):
        return Answer(f"No rival was fitted. {result}", "not measured", f"{_RESAMPLE}, and {_DESIGN}")
    best = min(s.aicc for s in result.standings)
    ranked = "; ".join(
        f"{TITLES.get(s.name, s.name)} (dAICc {_number(s.aicc - best)}, size out {_share(s.size_rms)}, "
        f"forecast {_share(s.rolling_rms)})"
        for s in result.standings
    )
    refused = f" Refused: {', '.join(result.rivals.refusals)}." if result.rivals.refusals else ""
    return Answer(f"Best forecaster first: {ranked}.{refused} {_runs_test(seen)}", "answered")


def _runs_test(seen: Evidence) -> str:
    """Signs of the residuals of the preferred law along C against chance (Wald & Wolfowitz 1940, normal approximation)."""
    fit, points = seen.analysis.fit.preferred, seen.points
    if fit is None or not isinstance(fit.law, JointLaw):
        return "No residuals of a joint law."
    signs = (points.loss > fit.law.predict(*points.columns(fit.law.variables)))[np.argsort(points.c, kind="stable")]
    up, down = int(signs.sum()), int((~signs).sum())
    num = 1 + int(np.sum(signs[1:] != signs[:-1]))
    if min(up, down) < 2:
        return f"Residuals by C change sign {num - 1} times, with too few of one sign for a test."
    mean = 1 + 2 * up * down / (up + down)
    sd = math.sqrt((mean - 1) * (mean - 2) / (up + down - 1))
    z = (num - mean) / sd
    return f"Residuals by C change sign {num - 1} times, {mean - 1:.1f} expected by chance (z = {z:+.1f})."


def intervals(seen: Evidence) -> Answer:
    """13. Intervals, correlations, whether E is identified."""
    whole = seen.analysis.fit
    fit = whole.preferred
    if fit is None:
        return Answer(f"No joint law, so no intervals: {whole.refusal}", "not measured", _DESIGN)
    if not len(fit.samples):
        return Answer("No intervals were computed.", "not measured", _RESAMPLE)
    how = fit.intervals or f"{whole.confidence:.0%} percentiles of {whole.bootstrap} resampled points or runs."
    pairs = _correlations(fit)
    e = fit.estimates["E"]
    codes = {finding.code: finding.text for finding in whole.findings}
    verdict = codes.get("A06", "By its interval the points fix E within a factor of 2.")
    return Answer(f"{how} Correlations of estimates: {pairs}. E {format_number(e.value)} {interval(e)}: {verdict}", "answered")


def _correlations(fit: Fit) -> str:
    samples = fit.cluster_samples if len(fit.cluster_samples) else fit.samples
    names = list(fit.law.parameters)
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.atleast_2d(np.corrcoef(samples, rowvar=False))
    shown = combinations([name for name in names if name not in ("A", "B")], 2)
    return ", ".join(f"{a} and {b} {matrix[names.index(a), names.index(b)]:+.2f}" for a, b in shown)


def held_out(seen: Evidence) -> Answer:
    """14. Larger scale held out."""
    tournament = seen.analysis.tournament
    tested = None if isinstance(tournament, Refused) else tournament.tested
    sealed = "a sealed forecast before a larger sweep: scalesweep forecast DIR, then scalesweep score."
    if tested is None or tested.outcomes is None:
        return Answer("Nothing was held out: no cut leaves enough rows below it.", "not measured", f"more points; and {sealed}")
    whole = tested.rows[-1]
    if math.isnan(whole.error):
        text = f"Rolling origin by compute, {len(tested.cuts)} origins: all {whole.num} predictions were abstained from."
        return Answer(text, "partly", f"a wider span of C; and {sealed}")
    text = (
        f"Rolling origin by compute, {len(tested.cuts)} origins, {whole.num} predictions, {percent(whole.abstained, 0)} "
        f"abstained: median error {percent(whole.error)}, bias {format_share(whole.bias, sign='+')}; of nominal "
        f"{tested.confidence:.0%} intervals "
        f"{percent(whole.covered['honest'], 0)} (honest) and {percent(whole.covered['form'], 0)} (of the law) hold. "
        f"{_baseline(seen, tested.outcomes)} By horizon in the back-test. No sealed forecast is part of this report."
    )
    return Answer(text, "partly", sealed)


def _baseline(seen: Evidence, outcomes: Outcomes) -> str:
    """Errors of the lowest loss measured below the cut, and errors relative to L - E."""
    kept = outcomes.select(~outcomes.abstained)
    points = seen.points
    lowest = np.array([points.loss[points.c <= cut * (1 + 1e-9)].min() for cut in kept.cut])
    last = float(np.median(np.abs(lowest / np.exp(kept.actual) - 1)))
    text = f"Lowest loss below the cut as prediction: {percent(last)}."
    fit = seen.analysis.fit.preferred
    floor = fit.estimates["E"].value if fit else math.nan
    excess = np.exp(kept.actual) - floor
    if not fit or not np.all(excess > 0):
        return text
    error = np.abs(np.exp(kept.centre) - np.exp(kept.actual)) / excess
    return f"{text} Error relative to L - E: {percent(float(np.median(error)), 1)}."


def extrapolation(seen: Evidence) -> Answer:
    """15. How far, and when the report abstains."""
    support = seen.analysis.support
    why = support.limit if support.factor and support.along == "optimum" else ""
    text = f"{support.words} {why} No interval is given beyond (A14)."
    asked = [finding.text for finding in seen.analysis.fit.findings if finding.code == "A14"]
    return Answer(" ".join([text, *asked]), "answered")


def approaches(seen: Evidence) -> Answer:
    """16. The three approaches of Hoffmann et al."""
    found = seen.analysis.approaches
    known = [(LABELS[row.name], row.a) for row in found.rows if row.a is not None]
    refused = [f"{LABELS[row.name]}: {' '.join(row.messages)}" for row in found.rows if row.a is None]
    if not known:
        return Answer(f"All refused. {' '.join(refused)}", "not measured", "isoFLOP budgets (sweep.design=isoflop).")
    said = "; ".join(f"{title}: a = {a.value:.3f} {interval(a)}" for title, a in known)
    pairs = []
    for (one, a), (other, b) in combinations(known, 2):
        if a.interval and b.interval:
            meets = a.interval.low <= b.interval.high and b.interval.low <= a.interval.high
            pairs.append(f"{one} and {other} {'overlap' if meets else 'do not overlap'}")
    bias = (
        f"Its bias: {found.bias}"
        if isinstance(found.bias, Refused)
        else f"Bias of IsoFLOP minima on this design: a {found.bias.a:+.4f}."
    )
    text = " ".join([f"{said}.", f"Intervals: {', '.join(pairs) or 'no pair to compare'}.", *refused, bias])
    is_whole = len(pairs) >= 3  # every pair of three approaches
    return Answer(text, "answered" if is_whole else "partly", "" if is_whole else "sweep.design=isoflop, with 3 seeds.")


def multipliers(seen: Evidence) -> Answer:
    """17. Comparisons of recipes."""
    frame = seen.points.frame
    axes = [str(name) for name in frame if str(name).startswith("axis.") and frame[name].nunique() > 1]
    if axes:
        text = f"{', '.join(axes)} differ between points, which one law was fitted to; no multiplier was estimated."
        return Answer(text, "not measured", "fit each arm alone, with equal tuning and an A/A arm.")
    if seen.is_table:
        found = seen.repeats
        mixed = [*found.families, *found.evaluations] if found else []
        text = f"Rows of one N and D differ by {', '.join(mixed)}, which one law was fitted to" if mixed else ""
        said = f"{text}; no multiplier was estimated." if text else "The table does not say whether its runs are of one recipe."
        return Answer(said, "not measured", f"fit them apart, by={mixed[0]}." if mixed else "name the column, as in by=arch.")
    nothing = "The points are of one recipe; nothing is compared."
    answer = from_studies(seen, ("algorithms", "data_quality"), nothing)
    return answer or Answer(
        nothing, "not measured", "arms with equal tuning, and an A/A arm, as of scalesweep study algorithms."
    )


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "-"


def _share(value: float) -> str:
    return percent(value) if math.isfinite(value) else "-"
