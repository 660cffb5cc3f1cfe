"""Answers of the checklist that studies give where they stand beside what is reported: known entropy, tasks, samples."""

from scalesweep.fit.estimates import Estimate
from scalesweep.report.review.answers import TABLE
from scalesweep.report.review.evidence import Answer, Evidence, from_studies, span
from scalesweep.report.verdicts import CERTIFICATE, certificate_line
from scalesweep.units import format_number

_CALIBRATE = "scalesweep study calibrate, or the same sweep with data=markov."


def known_source(seen: Evidence) -> Answer:
    """23. The same pipeline on a source whose entropy is known: this one, or those of the certificate."""
    certificate = seen.context.verdicts.get(CERTIFICATE)
    if not seen.facts.entropies and certificate is not None:
        text = f"The entropy of this source is not known. The pipeline: {certificate_line(seen.context.verdicts)}"
        if certificate.word != "supported":
            return Answer(text, "partly", "see why in its verdict.json.")
        return Answer(text, "answered" if certificate.is_current else "partly", "" if certificate.is_current else _CALIBRATE)
    entropies, below, joint = seen.facts.entropies, seen.facts.below_entropy, seen.analysis.fit.preferred
    if not entropies:
        return Answer(
            f"{TABLE} the entropy of its source, so E cannot be checked."
            if seen.is_table
            else "The entropy of this source is not known, so E cannot be checked.",
            "not measured",
            _CALIBRATE,
        )
    text = f"Known entropy {span((entropies[0], entropies[-1]), format_number)} nats per token; {below} cells end below it."
    if joint is None:
        return Answer(f"{text} There is no joint law, so no E.", "partly", "a design that identifies it.")
    e = joint.estimates["E"]
    known = e.interval is not None
    return Answer(
        f"{text} {_against(e, entropies[-1])}", "answered" if known else "partly", "" if known else "fit.bootstrap=1000"
    )


def _against(e: Estimate, entropy: float) -> str:
    value = f"E = {format_number(e.value)}"
    if e.interval is None:
        return f"{value}, without an interval."
    return f"The interval of {value}, {e.interval}, {'holds' if e.interval.holds(entropy) else 'does not hold'} it."


def tasks(seen: Evidence) -> Answer:
    """18. Emergence."""
    named = [str(name) for name in seen.points.frame if "accuracy" in str(name) or "exact_match" in str(name)]
    if named:
        return Answer(
            f"Columns {', '.join(named)} are kept and not analysed.", "not measured", "fit them by a law of their own."
        )
    nothing = "The points hold one metric, the loss, which is continuous; no task."
    answer = from_studies(seen, ("emergence",), nothing)
    return answer or Answer(nothing, "not measured", "scalesweep study emergence, or measure a task, with its n.")


def sampling(seen: Evidence) -> Answer:
    """20. Samples and pass@k."""
    named = [name for name in map(str, seen.points.frame) if name.startswith("pass@")]
    nothing = f"{TABLE} whether the models were sampled." if seen.is_table else "Nothing was sampled from the models."
    if not named and (answer := from_studies(seen, ("test_time",), nothing)) is not None:
        return answer
    said = f"Columns {', '.join(named)} are kept and not analysed." if named else nothing
    return Answer(said, "not measured", "sample the kept weights (train.keep_weights=true), and state k, n and T.")
