"""Answers of the checklist on the experiment: counts, design, data, tuning, seeds, cost, versions."""

import hashlib
from collections import Counter

import numpy as np

from scalesweep.analysis.tuning.frontier import AXIS
from scalesweep.counting import flops_in_words, params_in_words
from scalesweep.errors import Refused
from scalesweep.points.design import count_levels
from scalesweep.points.epochs import find_epochs
from scalesweep.points.mixtures import find_cells, kind_of
from scalesweep.report.review.evidence import Answer, Evidence, percent, span
from scalesweep.units import format_count, format_number, format_plain, plural

_SEEDS = "sweep.seeds=[0,1,2]"
ENOUGH_SEEDS = 3
"""Seeds from which a spread says something of itself."""
_LEFT_OUT = {
    "kaplan": "It leaves out head and attention's context.",
    "six_n": "It leaves out attention's context, and what N leaves out.",
}
TABLE = "The table does not say"


def form(seen: Evidence) -> Answer:
    """1. Form, variables, units."""
    fit = seen.analysis.fit
    law = f"{fit.preferred.law.formula()}." if fit.preferred else f"No joint law: {fit.refusal}"
    counted = f"N counts {params_in_words(fit.params_convention)}, C counts {flops_in_words(fit.flops_convention)}"
    text = f"{law} {counted}, L is {seen.points.metric.phrase}."
    if (bytes_per_token := seen.facts.bytes_per_token) is None:
        said = f"{text} {TABLE} which tokenizer, and how many bytes a token has."
        return Answer(said, "partly", "name both beside the table.")
    text = f"{text} Tokenizer {seen.facts.tokenizer}, {span(bytes_per_token)} bytes per token."
    return Answer(text, "answered" if fit.preferred else "partly")


def params(seen: Evidence) -> Answer:
    """2. N by every convention, and what the conclusions owe to it."""
    if len(seen.counted) < 2:
        only = f"The points have one count of N ({params_in_words(seen.points.params_convention)})."
        return Answer(only, "not measured", "give embedding, head and matrices apart, as a sweep of this package does.")
    found = list(seen.counted.values())
    words = {"alpha": "alpha", "a_law": "a of the fitted law", "by_n": "exponent of L(N)", "by_c": "exponent of L(C)"}
    moved = []
    for name, title in words.items():
        values = [own.value for c in found if not isinstance(own := c.estimates[name], Refused)]
        if values:
            moved.append(f"{title} {span((min(values), max(values)), format_number)}")
    counts = " / ".join(f"N {params_in_words(n)}, C {flops_in_words(c)}" for n, c in seen.counted)
    text = f"Refitted under {len(found)} counts of N and C ({counts}): {'; '.join(moved) or 'no law in any of them'}."
    return Answer(text, "answered" if moved else "partly")


def flops(seen: Evidence) -> Answer:
    """3. The FLOP formula."""
    points, compute = seen.points, seen.analysis.fit.compute
    if points.is_partial:
        return Answer(f"{TABLE} N, D and C of each row.", "not measured", "give params and tokens beside FLOPs.")
    text = f"C counts {flops_in_words(points.flops_convention)}; it is {span((compute.low, compute.high))} times 6 N D."
    if compute.unusual:
        return Answer(f"{text} {compute.unusual}", "partly", "state the units of N, D and C (A17).")
    if not (by := seen.facts.flops_by):
        return Answer(f"{text} {TABLE} by what formula.", "partly", "state the formula, and whether head and attention are in.")
    how = "Counted by torch's FLOP counter." if by == ("counter",) else f"Counted by {' and '.join(by)}."
    missing = _LEFT_OUT.get(points.flops_convention, "")
    return Answer(
        f"{text} {how} {missing}".strip(), "partly" if missing else "answered", "count.flops=attention" if missing else ""
    )


def design(seen: Evidence) -> Answer:
    """4. Runs, sizes, budgets, spans, diversity, cost."""
    fit, points = seen.analysis.fit, seen.points
    if points.is_partial:
        (name,) = points.variables
        levels = plural(count_levels(getattr(points, name)), "level")
        text = f"{plural(fit.num_used, 'point')} at {levels} of {name.upper()} ({fit.span.decades[name]:.1f} decades)."
        return Answer(text, "partly", "give params and tokens of each row, and state device-hours.")
    decades = fit.span.decades
    ratios = np.log10(points.d / points.n)
    text = (
        f"{fit.num_used} points of {count_levels(points.n)} sizes and {count_levels(points.d)} token budgets; "
        f"N {span(fit.span.n, format_count)} ({decades['n']:.1f} decades), D {span(fit.span.d, format_count)} "
        f"({decades['d']:.1f}), C {span(fit.span.c, format_number)} {fit.compute.unit} ({decades['c']:.1f}), "
        f"D/N {span(fit.span.tokens_per_parameter)} ({np.ptp(ratios):.1f} decades). {_conditioning(seen)}"
    )
    if (bill := seen.facts.bill) is None:
        return Answer(f"{text} {TABLE} what the runs cost.", "partly", "state device-hours.")
    return Answer(f"{text} {bill.device_hours:.3g} device-hours.", "answered")


def _conditioning(seen: Evidence) -> str:
    points = seen.points
    if np.ptp(points.n) == 0 or np.ptp(points.d) == 0:
        return "Only one of N and D varies."
    text = f"Correlation of log N and log D {np.corrcoef(np.log(points.n), np.log(points.d))[0, 1]:+.2f}"
    tournament = seen.analysis.tournament
    fit = None if isinstance(tournament, Refused) else tournament.rivals.find("chinchilla")
    return f"{text}; condition number of the additive law {fit.search.condition:.2g}." if fit and fit.search else f"{text}."


def data(seen: Evidence) -> Answer:
    """5. Data: hash, duplicates, unique tokens, epochs, order."""
    facts = seen.facts
    if facts.corpus_hash is None:
        return Answer(f"{TABLE} which data, whether they repeat across the split, and in which order.", "not measured", _SHARE)
    text = f"Corpus {facts.corpus}, hash {facts.corpus_hash}."
    if (unique := seen.column("unique_tokens")) is not None:
        text += f" U = {span((unique.min(), unique.max()), format_count)} unique tokens"
        epochs = seen.column("epochs")
        text += "." if epochs is None else f", at most {epochs.max():.2g} epochs."
    if (seeds := seen.column("seed")) is not None:
        text += f" Order of the data by seed ({', '.join(str(s) for s in sorted(set(seeds)))})."
    if (removed := facts.duplicates_removed) is None:
        return Answer(
            f"{text} Its directory is gone, so the copies that were left out are not known.", "partly", "prepare it again."
        )
    if not facts.documents:
        return Answer(f"{text} The tokens come without documents, so none was compared with others.", "answered")
    return Answer(f"{text} {facts.documents} distinct documents; {removed} exact copies left out before the split.", "answered")


_SHARE = "share the sweep's directory, or the table with the corpus's hash."


def validation(seen: Evidence) -> Answer:
    """6. The validation set and its standard error."""
    tokens, errors = seen.facts.validation_tokens, seen.column("loss_se")
    known = errors is not None and bool(errors.notna().any())
    said = ""
    if known:
        relative = float((errors / seen.column("loss")).median())
        known_errors = seen.points.metric.by(span((errors.min(), errors.max())))
        said = f"Standard error of a loss {known_errors} (median {percent(relative)})."
    if not tokens:
        text = (
            f"{said} {TABLE} how many held-out tokens." if known else f"{TABLE} how many held-out tokens, nor a standard error."
        )
        return Answer(text.strip(), "partly" if known else "not measured", "give a column loss_se, and the number of tokens.")
    one = len(tokens) == 1
    sizes = " and ".join(format_count(size) for size in tokens)
    same = "the same ones for all cells" if one else "not the same for all cells"
    text = f"{sizes} held-out tokens, {same}. {said or 'No standard error is known.'}"
    return Answer(text, "answered" if one and known else "partly", "" if one else "one train.validation_tokens for all.")


def tuning(seen: Evidence) -> Answer:
    """7. Hyper-parameter search."""
    frame = seen.points.frame
    if "num_settings" not in frame:
        if seen.is_table:
            return _tuning_of_table(seen)
        rates = seen.column("lr")
        fixed = f" Learning rates follow one rule, {span((rates.min(), rates.max()))}." if rates is not None else ""
        remedy = "scalesweep check transfer, and sweep.tune (sweep=tuned_small) for a tuned frontier."
        return Answer(f"No setting was tuned at each size and budget.{fixed}", "not measured", remedy)
    names = [str(c).removeprefix("best.") for c in frame if str(c).startswith("best.")]
    inner = int((frame["excluded_reason"] == "").sum())
    settings = span((frame["num_settings"].min(), frame["num_settings"].max()))
    text = f"Tuned: {', '.join(names)}; {settings} settings at each point; the optimum is inside in {inner} of {len(frame)}."
    by = seen.points.metric.by
    for name, title in (("regret_half_lr", "half"), ("regret_double_lr", "double")):
        if name in frame and frame[name].notna().any():
            text += f" At {title} the best learning rate the loss is {by(f'{frame[name].median():.4f}')} higher (median)."
    complete = inner == len(frame)
    return Answer(
        text, "answered" if complete else "partly", "" if complete else "widen the range where the optimum is at its end."
    )


def _tuning_of_table(seen: Evidence) -> Answer:
    """What the columns of somebody else's table show of a search."""
    used, found = seen.points.used, seen.repeats
    remedy = "name the tuned columns, as in tune=lr, for laws of the tuned frontier."
    if found and found.settings:
        each = ", ".join(f"{name} ({num} values)" for name, num in found.settings.items())
        text = f"At one N and D rows differ by {each}, {found.num_rows} rows in {found.num_cells} cells; no optimum was taken."
        return Answer(text, "partly", remedy)
    varied = [name for name in map(str, used) if kind_of(used, name) == "settings" and not name.startswith(AXIS)]
    if varied:
        each = ", ".join(f"{name} {span((used[name].min(), used[name].max()))}" for name in varied)
        return Answer(f"Settings differ between points: {each}. {TABLE} how they were chosen.", "not measured", "state it.")
    return Answer(f"{TABLE} whether settings were tuned at each size and budget.", "not measured", "state it.")


def schedule(seen: Evidence) -> Answer:
    """8. Warm-up and decay."""
    names, warmup, decay = seen.facts.schedules, seen.facts.warmup_fraction, seen.facts.decay_fraction
    if not names or warmup is None or decay is None:
        return Answer(
            f"{TABLE} what warm-up and schedule were.", "not measured", "state both; each run must decay to its own end."
        )
    text = f"Schedule {' and '.join(names)}; warm-up {span(warmup, percent)} of a run"
    if "wsd" in names:
        text += f", decay to 0 over its last {span(decay, percent)}"
        if decay[0] == 0 and names == ("wsd",):
            return Answer(f"{text}; some cells do not decay.", "partly", "train.decay_fraction=0.2")
    return Answer(f"{text}; every cell ends at a learning rate of 0 at its own length.", "answered")


def seeds(seen: Evidence) -> Answer:
    """9. Seeds, variance, determinism, hardware, precision, versions."""
    column, noise = seen.column("seed"), seen.analysis.fit.noise
    num = len(set(column)) if column is not None else 0
    text = f"{num} seed{'' if num == 1 else 's'}" if num else f"{TABLE} which seeds" if seen.is_table else "No seed is known"
    text += (
        f"; sd of log loss between seeds {percent(noise.log_loss_sd)} ({noise.degrees_of_freedom} degrees of freedom), "
        "initialisation and data order together."
        if noise
        else f"; {_repeated(seen)}."
    )
    facts = seen.facts
    if facts.devices:
        text += f" Devices: {', '.join(facts.devices)}; precision {', '.join(facts.precisions)}; {'; '.join(facts.versions)}."
    else:
        text += f" {TABLE} on what hardware, in what precision and by which versions."
    if not noise:
        return Answer(text, "not measured", _SEEDS)
    enough = num >= ENOUGH_SEEDS and bool(facts.devices)
    return Answer(text, "answered" if enough else "partly", "" if num >= ENOUGH_SEEDS else _SEEDS)


def _repeated(seen: Evidence) -> str:
    """Whether any N and D has several rows, where they are no replicates by their seeds."""
    if not {"n", "d"} <= set(seen.points.used) or seen.points.used[["n", "d"]].isna().to_numpy().any():
        return "rows without N or D cannot be told to be replicates"
    cell = find_cells(seen.points.used)
    sizes = np.bincount(cell)
    if sizes.max() < 2:
        return "no N and D was measured twice"
    log_loss = np.log(seen.points.loss)
    spread = max(float(np.ptp(log_loss[cell == i])) for i in np.flatnonzero(sizes > 1))
    found = seen.repeats
    by = [*found.settings, *found.families, *found.evaluations] if found else []
    why = f"which differ by {', '.join(by)}" if by else "which no column tells apart"
    return (
        f"{int(np.sum(sizes > 1))} of {len(sizes)} (N, D) have several rows, {why}, with losses up to {percent(spread)} apart"
    )


def repeats(seen: Evidence) -> Answer:
    """19. Limited data."""
    known = find_epochs(seen.points.used)
    if known is None:
        return Answer(f"{TABLE} whether data were repeated.", "not measured", "give a column unique_tokens.")
    epochs = known[np.isfinite(known)]
    if epochs.max() <= 1:
        return Answer(f"No point repeats its data: at most {epochs.max():.2g} epochs.", "answered")
    again = int((epochs > 1).sum())
    text = f"{again} of {len(epochs)} points repeat data, at most {epochs.max():.2g} epochs; the laws here are of fresh data."
    return Answer(text, "partly", "a larger corpus (data.max_bytes), and fresh controls at the same D.")


def energy(seen: Evidence) -> Answer:
    """21. Energy and cost."""
    if (bill := seen.facts.bill) is None:
        return Answer(
            f"{TABLE} what it cost in energy or money.",
            "not measured",
            "run the sweep with this package, or state device-hours.",
        )
    rates, states = ", ".join(bill.rates), seen.facts.states
    text = f"{format_plain(bill.kwh)} kWh, ${format_plain(bill.usd)}, {format_plain(bill.kg_co2)} kg CO2 for "
    text += f"{format_plain(bill.device_hours, 3)} device-hours of training, at {rates}."
    without = sum(number for state, number in states.items() if state not in ("COMPLETE", "DIVERGED"))
    if without:
        return Answer(f"{text} {without} cells without a record are not in it.", "partly", "finish the sweep.")
    text = f"{text} All {sum(states.values())} cells are in it, diverged and tuning ones too; repeated attempts are not."
    assumed = "assumed" in rates
    remedy = "state cost.watts, cost.usd_per_device_hour and cost.kg_co2_per_kwh." if assumed else ""
    return Answer(text, "partly" if assumed else "answered", remedy)


def code(seen: Evidence) -> Answer:
    """22. Code, table, environment, command."""
    digest = hashlib.sha256(seen.points.frame.to_csv(index=False).encode()).hexdigest()[:16]
    text = f"Made by: {seen.context.command.replace(chr(10), ' && ')}. Table of points: sha256 {digest}."
    if not (versions := seen.facts.versions):
        return Answer(f"{text} {TABLE} which code and versions measured it.", "partly", _SHARE)
    text = f"{text} Sweep {seen.context.provenance.get('sweep', '?')}; {'; '.join(versions)}."
    fixed = len(versions) == 1 and "commit" in versions[0] and "dirty" not in versions[0]
    remedy = "" if fixed else "measure all cells from one committed checkout."
    return Answer(text, "answered" if fixed else "partly", remedy)


def rows(seen: Evidence) -> str:
    """Which rows entered, with the reasons of the others."""
    reasons = Counter(str(reason).split(":")[0] for reason in seen.points.excluded["excluded_reason"])
    left_out = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    excluded = f"{seen.analysis.fit.num_excluded} left out{f' ({left_out})' if left_out else ''}"
    text = f"{seen.analysis.fit.num_used} rows used, {excluded}."
    if (shared := seen.facts.shared_trunks) is not None:
        text += f" Each is the end of a cell's own schedule; {shared} trunks are shared by several cells."
    return text
