"""A forecast, and its score, as text for a terminal."""

import textwrap

from scalesweep.analysis.forecast.dated import Forecast, Prediction, name_target
from scalesweep.analysis.forecast.rivals import TITLES
from scalesweep.analysis.forecast.scoring import Score
from scalesweep.fit.horizon import DRIFT
from scalesweep.points.metric import METRICS
from scalesweep.units import format_count, format_number, format_rough, format_share


def summarise(made: Forecast) -> str:
    """A forecast with both intervals, or why it abstains."""
    share = f"{made.confidence:.0%}"
    what = "the compute-optimal model at " if made.target == "compute" else "a model with "
    if made.reservation and made.target == "compute":
        on_ray = f" (on the ray N {format_count(made.n)}, D {format_count(made.d)})" if made.n and made.d else ""
        what = f"a model like these{on_ray} at "
    metric = METRICS[made.origin.metric]
    unit = f", {metric.unit}" if metric.unit else ""
    lines = [f"Forecast of the {metric.noun} of {what}{name_target(made)}{unit}"]
    if made.n_opt and made.d_opt and made.n_opt_range:
        low, high = (format_count(value) for value in made.n_opt_range)
        lines += [
            f"  N* {_count(made.n_opt)}, D* {_count(made.d_opt)} tokens, if this form holds;",
            f"  over all forms N* [{low}, {high}]",
        ]
    lines += [f"  if this form holds  {made.form}  {share}, one new run, {_title(made.form_name)} law"]
    if made.honest:
        lines += [f"  honest              {made.honest}  {share}, one new run, {_centre(made)}"]
    else:
        lines += ["  honest              none: the tool abstains (A14).", *_wrap(made.abstention, 22)]
    each = ", ".join(f"{_title(name)} {format_number(loss)}" for name, loss in made.forms.items())
    notes = (
        f"Forms: {each}.",
        f"The target's compute is {format_number(made.factor)} times the largest measured; {_reach(made)}",
        *([made.reservation] if made.reservation else []),
        _honest(made),
        f"From {made.origin.rows} points, {made.origin.source}, hash {made.origin.sha256[:12]}.",
    )
    return "\n".join([*lines, *(line for note in notes for line in _wrap(note, 2))])


def _centre(made: Forecast) -> str:
    """What the honest interval lies around; a forecast with a reservation is one of L(C)."""
    return f"{_title(made.form_name)} law" if made.reservation else "mean of the forms"


def _reach(made: Forecast) -> str:
    """How far the points reach, by the rule of the report."""
    along = "these points" if made.reservation else "the compute optimum"
    if made.supported_factor <= 1:
        return f"along {along} the points support nothing beyond that."
    return f"along {along} the points support up to {format_rough(made.supported_factor)} times."


def _honest(made: Forecast) -> str:
    """How the honest interval is made, in a sentence."""
    drift = f"an exponent that may drift by {DRIFT:g} of itself per decade"
    if not made.num_origins:
        tested = "not back-tested: too few points"
    elif made.reservation:
        tested = f"stretched {made.widening:.2f} times by {made.num_origins} back-tests on these points"
    else:
        tested = f"{made.widening:.2f} times as wide as elsewhere by {made.num_origins} back-tests on these points"
    if made.reservation:
        return f"Honest: what L(C) with and without a floor say, {drift}, {tested}."
    return f"Honest: mean of the forms by their weights, {drift}, {tested}."


def _title(form: str) -> str:
    return {"power": "power", "power_floor": "power-with-floor"}.get(form) or TITLES.get(form, form)


def _count(found: Prediction) -> str:
    return f"{format_count(found.value)} [{format_count(found.low)}, {format_count(found.high)}]"


def _wrap(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, 98, initial_indent=" " * indent, subsequent_indent=" " * (indent + (0 if indent > 2 else 2)))


def summarise_score(result: Score) -> str:
    """A filed forecast beside what was measured since, as text for a terminal."""
    made = result.filed.forecast
    lines = [f"Forecast of {result.filed.day} ({result.filed.sha256[:12]}) for {name_target(made)}"]
    lines += [f"  if this form holds  {made.form}", f"  honest              {made.honest or 'none: the tool had abstained'}"]
    for row in result.rows:
        lines.append(f"  measured {format_number(row.loss)} at N {format_count(row.n)}, D {format_count(row.d)}:")
        off = format_share(row.form_error, sign="+")
        lines.append(f"    {_title(made.form_name)} law off by {off}, {_inside(row.in_form)} if this form holds")
        if row.error is not None and row.in_honest is not None:
            lines.append(f"    {_centre(made)} off by {format_share(row.error, sign='+')}, {_inside(row.in_honest)} honest")
    if not result.is_unseen:
        lines.append("  These are the points that the forecast was made from: this is no test of it.")
    return "\n".join(lines)


def _inside(value: bool) -> str:
    return "inside" if value else "OUTSIDE"
