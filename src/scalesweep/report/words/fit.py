"""A fit as text for a terminal."""

import textwrap
from collections.abc import Callable

from scalesweep.counting import flops_in_words, params_in_words
from scalesweep.fit.criterion import strength
from scalesweep.fit.estimates import Estimate
from scalesweep.fit.results import Fit
from scalesweep.fit.sweep_fit import FLOORS, Name, SweepFit
from scalesweep.points.design import Span
from scalesweep.points.metric import Metric
from scalesweep.units import format_count, format_number, format_rough, format_share, plural

WIDTH = 100
MEANINGS = {
    "E": "irreducible {phrase}, of this form",
    "A": "coefficient of the parameter term",
    "B": "coefficient of the data term",
    "alpha": "exponent of N",
    "beta": "exponent of D",
    "kappa": "coupling: 0 larger term, 1 sum, above 1 more",
    "R_D": "repetitions by which a token has lost 1 - 1/e of its worth",
    "R_N": "the same of parameters beyond their optimum",
    "a": "compute-optimal N grows as C^a",
    "b": "compute-optimal D grows as C^b",
    "tokens_per_parameter": "compute-optimal D/N at the largest measured C",
    "exponent": "exponent of the power law",
    "scale": "where the law gives {one}",
}
TITLES: dict[Name, str] = {
    "joint": "Joint law of parameters and tokens, additive",
    "coupled": "Joint law of parameters and tokens, coupled",
    "repeated": "Joint law of parameters, tokens and unique tokens, for repeated data",
    "by_n": "Loss against parameters",
    "by_d": "Loss against tokens",
    "by_c": "Loss against compute",
    "by_n_floor": "Loss against parameters, with a floor",
    "by_d_floor": "Loss against tokens, with a floor",
    "by_c_floor": "Loss against compute, with a floor",
}
JOINT = ("joint", "coupled", "repeated")
_LAWS: dict[str, str] = {"joint": "additive law", "coupled": "coupled law", "repeated": "law of repeated data"}


def meaning(name: Name, parameter: str, metric: Metric) -> str:
    """What a parameter of the law of this name is."""
    for variable, floor in FLOORS.items():
        if name == floor:
            said = {"alpha": "exponent of {}", "A": "coefficient of the term in {}", "E": "where it ends as {} grows"}
            return said[parameter].format(variable)
    return MEANINGS[parameter].format(phrase=metric.phrase, one=metric.one)


def summarise(fit: SweepFit) -> str:
    """The laws in symbols and words, with intervals, objective, conventions and warnings."""
    return "\n\n".join([*contradiction(fit), *law_blocks(fit), *closing(fit)])


def contradiction(fit: SweepFit) -> list[str]:
    """What stands before everything else: that the units of N, D and C cannot be right; nothing where they can."""
    return [wrap(f"A17 {fit.compute.unusual}", "")] if fit.compute.is_contradiction else []


def law_blocks(fit: SweepFit) -> list[str]:
    """A block of lines for each law, the preferred joint law first, and a sentence for each refused one."""
    beside = {name: other for name in fit.order if (other := fit.beside(name))}
    blocks = [
        "\n".join(
            [
                _block(heading(fit, name), name, fit[name], fit.metric),
                *([wrap(in_one_line(fit, beside[name]), "  ")] if name in beside else []),
            ]
        )
        for name in fit.order
        if name not in beside.values()
    ]
    refused = {name: wrap(f"{TITLES[name]}: refused. {reason}", "") for name, reason in fit.stated_refusals.items()}
    asked = [refused.pop(fit.preferred_name)] if fit.chosen and fit.preferred_name in refused else []
    return [*asked, *blocks, *refused.values()]


def heading(fit: SweepFit, name: Name) -> str:
    """The law's title; of a joint law beside the preferred one it says so first."""
    if name not in JOINT or name == fit.preferred_name or not (fit.preferred or fit.chosen):
        return TITLES[name]
    return f"Not the {'chosen' if fit.chosen else 'preferred'} law: {TITLES[name][0].lower()}{TITLES[name][1:]}"


def in_one_line(fit: SweepFit, name: Name) -> str:
    """The law of one variable that is not preferred, in one sentence."""
    found = fit[name]
    is_floor = name in FLOORS.values()
    parameter = "E" if is_floor else "exponent"
    # Of a line on the joint law, the residuals are the joint law's, and stand beside the law with a floor.
    rms = f", residual {format_share(found.residual_rms)} rms" if found.huber_delta is None else ""
    ends = interval(found.estimates[parameter])
    what = {True: "With a floor", False: "Without a floor"}[is_floor]
    return f"{what}: {found.law.formula()}, {parameter} {ends}{rms}. {found.status.value}"


def closing(fit: SweepFit) -> list[str]:
    """The warnings, where there are any, and the sentences on data and method."""
    said = "A17" if fit.compute.is_contradiction else ""  # by `contradiction`
    warnings = [wrap(f"{finding.code} {finding.text}", "  ") for finding in fit.findings if finding.code != said]
    blocks = ["\n".join(["Warnings (docs/warnings.md)", *warnings])] if warnings else []
    return [*blocks, "\n".join(wrap(line, "") for line in footer(fit))]


def footer(fit: SweepFit) -> list[str]:
    """Sentences on range, noise, intervals and conventions."""
    lines = [
        f"Points: {fit.num_used} used, {fit.num_excluded} excluded, from {fit.source}.",
        f"N counts: {params_in_words(fit.params_convention)}. C counts: {flops_in_words(fit.flops_convention)}. "
        f"{fit.compute.words}",
        f"Measured: {_measured(fit.span, fit.compute.unit)}. Beyond that the laws extrapolate.",
        f"Intervals: {fit.confidence:.0%}, percentiles of {plural(fit.bootstrap, 'resample')}, seed {fit.seed}; where a law "
        "says nothing else, of its points as independent. All take the form of the law as right."
        if fit.bootstrap
        else "Intervals: none (no resamples were asked for).",
    ]
    if fit.noise:
        degrees, ratio = plural(fit.noise.degrees_of_freedom, "degree"), ""
        if fit.noise_ratio is not None:
            ratio = f"; the first law's residuals are {format_rough(fit.noise_ratio)} times that"
        lines.append(f"Seed noise: {format_share(fit.noise.log_loss_sd)} of the loss ({degrees} of freedom){ratio}.")
    return [*lines[:1], *_choice(fit), *lines[1:], *fit.notes]


def _choice(fit: SweepFit) -> list[str]:
    """Which joint law stands for the result, and what the points say of it against the other, in a sentence."""
    other: Name = "repeated" if fit.chosen == "repeated" else "coupled"
    if not {"joint", other} <= fit.fits.keys():
        return []
    better, worse = sorted(("joint", other), key=lambda name: fit[name].aicc)
    difference = fit[worse].aicc - fit[better].aicc
    runs = format_rough(float(fit[better].shares.sum()))
    criterion = (
        f"of {runs} independent runs, AICc of the Huber objective {difference:.1f} lower than that of the {_LAWS[worse]}; "
        f"{strength(difference)}"
    )
    if fit.chosen and fit.chosen != better:
        return [f"Chosen (fit.law) is the {preference(fit)}. The points prefer the {_LAWS[better]} ({criterion})."]
    return [f"{'Chosen (fit.law)' if fit.chosen else 'Preferred'} is the {preference(fit)} ({criterion})."]


def preference(fit: SweepFit) -> str:
    """The preferred joint law in words."""
    return _LAWS[fit.preferred_name]


def interval(estimate: Estimate) -> str:
    """The interval in brackets, or a dash; an end that the points do not limit is open."""
    return str(estimate.interval or "-")


def _block(title: str, name: Name, fit: Fit, metric: Metric) -> str:
    delta = f", delta {format_number(fit.huber_delta)}" if fit.huber_delta is not None else ""
    rows = [
        f"  {parameter:<21}{format_number(estimate.value):>10}  {interval(estimate):<24}{meaning(name, parameter, metric)}"
        for parameter, estimate in fit.estimates.items()
    ]
    return "\n".join(
        [
            title,
            wrap(fit.law.formula(), "  "),
            wrap(" ".join((fit.status.value, *fit.messages)), "  "),
            *(row.rstrip() for row in rows),
            f"  {plural(len(fit.rows), 'point')} ({fit.selection}); residual {format_share(fit.residual_rms)} rms;",
            f"  {fit.objective.words}{delta}: {fit.objective_value:.10g}",
            *([wrap(fit.intervals, "  ")] if fit.intervals else []),
        ]
    )


def wrap(text: str, indent: str) -> str:
    """The text in lines of a terminal, further ones indented a little more."""
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False)


def _measured(span: Span, unit: str) -> str:
    """The ranges of what the table says; the unit is that of C."""
    decades = {name: f" ({number:.1f} decades)" if number else "" for name, number in span.decades.items()}
    parts = [
        f"N {_range(span.n)}{decades['n']}" if span.n else "",
        f"D {_range(span.d)} tokens{decades['d']}" if span.d else "",
        f"C {_range(span.c, format_number)} {unit}{decades['c']}" if span.c else "",
        f"D/N {_range(span.tokens_per_parameter)}" if span.tokens_per_parameter else "",
    ]
    return ", ".join(part for part in parts if part)


def _range(span: tuple[float, float], write: Callable[[float], str] = format_count) -> str:
    """Both ends, or one number where they are written alike."""
    low, high = map(write, span)
    return low if low == high else f"{low} to {high}"
