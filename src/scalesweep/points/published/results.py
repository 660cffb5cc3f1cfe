"""What published studies say of scaling exponents: values with intervals, counting conventions, ranges and sources.

Constants only, and the few numbers that follow from them in closed form. `report.studies` sets a sweep's own values beside
them; the measured points of some of these studies are in `published`. Each value says how it was obtained:

    read       read at its source: the paper, its TeX, or the authors' files
    computed   computed here from published constants
    quoted     known through others' transcriptions of the paper, of which two or more agree unless the note says otherwise
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scalesweep.counting import FlopsConvention, ParamsConvention

Measure = Literal[
    "by_n", "by_d", "by_c", "alpha", "beta", "E", "tokens_per_parameter", "a_envelope", "a_isoflop", "a_law", "by_c_min"
]
"""What of an analysis stands beside a value; `by_c_min`, Kaplan's C_min, has no counterpart here."""
Obtained = Literal["read", "computed", "quoted"]
Interval = tuple[float, float]
PEARCE_OMEGA = 47491.0
"""N_total = N + omega N^(1/3) of Chinchilla's models, N without embeddings. Pearce & Song 2024, and their script."""
PEARCE_C = (10**12.95, 10**20.7)
"""FLOPs (6 N D, N without embeddings) over which Pearce & Song fit, the optima of Kaplan's 768 to 1.5e9 parameters."""
GOPHER_C = 5.76e23
"""Training FLOPs of Gopher, at which Hoffmann et al. compare."""
_BESIROGLU = {"A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3659}
_HOFFMANN = {"A": np.exp(6.0073404), "B": np.exp(6.0179186), "alpha": 0.33917084, "beta": 0.2849083}
"""Unrounded, from the TeX source."""


@dataclass(frozen=True)
class Result:
    """One value of one study."""

    study: str
    """Authors and year."""
    quantity: str
    """What the value is, in words and symbols."""
    measure: Measure
    """The value of an analysis that stands beside it."""
    value: float
    """The value as printed, or as computed; exponents, nats per token, or tokens per parameter."""
    interval: Interval | None
    """Its interval; None where none was published."""
    confidence: float | None
    """Nominal coverage of the interval."""
    params: str
    """What the study's N counts."""
    flops: str
    """What its C counts."""
    counts: tuple[ParamsConvention, FlopsConvention]
    """The conventions of this package that are nearest to both."""
    n_range: Interval
    """Smallest and largest N."""
    c_range: Interval | None
    """Smallest and largest C, FLOPs; None where it is not known."""
    objective: str
    """How it was estimated."""
    source: str
    """arXiv number, and the table, equation or file."""
    obtained: Obtained
    """How the number came here."""
    note: str = ""
    """What a reader has to know before comparing."""


@functools.cache
def published_results() -> tuple[Result, ...]:
    """All values, by study and in the order of publication."""
    return (*_kaplan(), *_hoffmann(), *_besiroglu(), *_porian(), *_pearce())


def _kaplan() -> tuple[Result, ...]:
    """Kaplan et al. 2020."""

    def row(
        quantity: str, measure: Measure, value: float, place: str, note: str, obtained: Obtained = "read", how: str = ""
    ) -> Result:
        return Result(
            "Kaplan et al. 2020",
            quantity,
            measure,
            value,
            None,
            None,
            "parameters without embeddings",
            "6 N D, without head and attention's context",
            ("non_embedding", "kaplan"),
            (768, 1.5e9),
            None,
            how or "power law without a floor E",
            f"arXiv 2001.08361, {place}",
            obtained,
            note,
        )

    minimal = "Theirs is C_min, the compute at a batch far below the critical one; here C is what was spent."
    return (
        row("exponent of L(N)", "by_n", 0.076, "eq. 1.1", "Models trained to convergence."),
        row("exponent of L(D)", "by_d", 0.095, "eq. 1.2", "A large model, stopped early."),
        row("exponent of L(C), batch fixed", "by_c", 0.057, "L(C) at fixed batch", "Batch of 2^19 tokens at every size."),
        row("exponent of L(C_min)", "by_c_min", 0.050, "eq. 1.3", minimal),
        row("a in N* ∝ C_min^a", "a_envelope", 0.73, "eq. 1.7", minimal, how="frontier of learning curves"),
        row(
            "a in N* ∝ C^a, batch fixed",
            "a_envelope",
            0.88,
            "as in github.com/shehper/scaling_laws",
            "Printed by Kaplan et al. beside their 0.73; Porian et al. 2024 compare with this one.",
            "quoted",
            "frontier of learning curves",
        ),
    )


def _hoffmann() -> tuple[Result, ...]:
    """Hoffmann et al. 2022, approaches 1 to 3; ranges of C of approaches 1 and 3 as digitised by Besiroglu et al. 2024."""

    def row(
        approach: int, quantity: str, measure: Measure, value: float, interval: Interval | None, place: str, note: str = ""
    ) -> Result:
        printed = place.startswith("eq.")
        return Result(
            f"Hoffmann et al. 2022, approach {approach}",
            quantity,
            measure,
            value,
            interval,
            0.8 if interval else None,
            "all parameters, embeddings included",
            "6 N D" if approach == 3 else "appendix F, embeddings, head and attention included",
            ("total", "six_n" if approach == 3 else "chinchilla"),
            (44e6, 16.183e9),
            (6e18, 3e21) if approach == 2 else (1.397e18, 1.296e22),
            {
                1: "envelope of smoothed training curves",
                2: "parabolas through isoFLOP curves",
                3: "Huber 1e-3 of log L, stopped early (Besiroglu et al. 2024)",
            }[approach],
            f"arXiv 2203.15556, {place}",
            "read" if printed else "quoted",
            note,
        )

    resampled = "10th and 90th percentiles of 100 subsamples of 80 %."
    rounded = "Rounded in print; unrounded in the TeX: 0.33917, 0.28491, E = exp(0.52672)."
    return (
        row(1, "a in N* ∝ C^a", "a_envelope", 0.50, (0.488, 0.502), "table 2", resampled),
        row(1, "D*/N* at 5.76e23 FLOPs", "tokens_per_parameter", 1.5e12 / 67e9, None, "table 3", "67B and 1.5T, as printed."),
        row(2, "a in N* ∝ C^a", "a_isoflop", 0.49, (0.462, 0.534), "table 2", resampled),
        row(3, "a in N* ∝ C^a", "a_law", 0.46, (0.454, 0.455), "table 2", f"The interval leaves the value out. {resampled}"),
        row(3, "alpha of L(N, D)", "alpha", 0.34, None, "eq. 10", rounded),
        row(3, "beta of L(N, D)", "beta", 0.28, None, "eq. 10", rounded),
        row(3, "E of L(N, D), nats per token", "E", 1.69, None, "eq. 10", rounded),
    )


def _besiroglu() -> tuple[Result, ...]:
    """Besiroglu et al. 2024 on 240 digitised points of Hoffmann et al. 2022; 4000 resamples."""

    def row(
        quantity: str, measure: Measure, value: float, interval: Interval | None, obtained: Obtained = "read", note: str = ""
    ) -> Result:
        return Result(
            "Besiroglu et al. 2024",
            quantity,
            measure,
            value,
            interval,
            0.95 if interval else None,
            "all parameters, as read off Hoffmann's figure 4",
            "as read off Hoffmann's figure 4; D = C / (6 N)",
            ("total", "six_n"),
            (57.3e6, 16.2e9),
            (1.397e18, 1.296e22),
            "likelihood of a Huber density (1e-3) of log L with a free scale",
            "arXiv 2404.10102",
            obtained,
            note,
        )

    plain = "The plain sum of Huber losses has its minimum at 0.3473, 0.3672 and E = 1.8172."
    return (
        row("alpha of L(N, D)", "alpha", 0.3478, (0.317, 0.373), note=plain),
        row("beta of L(N, D)", "beta", 0.3659, (0.331, 0.415), note=plain),
        row("E of L(N, D), nats per token", "E", 1.8169, (1.769, 1.871), note=plain),
        row(
            "a in N* ∝ C^a",
            "a_law",
            0.513,
            (0.513 - 1.96 * 0.020, 0.513 + 1.96 * 0.020),
            note="Interval from the published standard error, 0.020, as normal.",
        ),
        row(
            "D*/N* at 5.76e23 FLOPs",
            "tokens_per_parameter",
            _tokens_per_parameter(GOPHER_C, **_BESIROGLU),
            None,
            "computed",
            "From the published constants.",
        ),
    )


_PORIAN: Sequence[tuple[str, str, float, Interval]] = (
    ("RefinedWeb", "as Kaplan et al.", 0.8353000424913991, (0.8235140030605618, 0.8459584005693882)),
    ("RefinedWeb", "head counted", 0.7064699122200796, (0.691487745298766, 0.7169261644918081)),
    ("RefinedWeb", "short warm-up", 0.6020375267309686, (0.5914284570414033, 0.6172816803463219)),
    ("RefinedWeb", "decay matched to length", 0.5714947855747434, (0.5598008876852589, 0.5885206791294889)),
    ("RefinedWeb", "tuned", 0.49689507817885203, (0.4906815956168365, 0.5045239562081141)),
    ("OpenWebText2", "as Kaplan et al.", 0.8635108173346319, (0.8186147690211354, 0.8973605878172554)),
    ("OpenWebText2", "head counted", 0.698500695818592, (0.6643952997266339, 0.7244652661129997)),
    ("OpenWebText2", "short warm-up", 0.6031958731092242, (0.5702292008754418, 0.6287073215710414)),
    ("OpenWebText2", "decay matched to length", 0.57429513911277, (0.5423438210836433, 0.6055712678315978)),
    ("OpenWebText2", "tuned", 0.5184542057238083, (0.49309810922443176, 0.5414089256161447)),
)
"""Corpus, what was changed so far, a and its 95 % interval: a_bs_median_weighted, a_lo95, a_hi95 of the authors' file."""


def _porian() -> tuple[Result, ...]:
    """Porian et al. 2024."""

    def row(corpus: str, stage: str, value: float, interval: Interval) -> Result:
        first = stage == "as Kaplan et al."
        return Result(
            "Porian et al. 2024",
            f"a in N* ∝ C^a, {corpus}, {stage}",
            "a_isoflop",
            value,
            interval,
            0.95,
            "parameters without embeddings and head" if first else "parameters without the input embedding",
            "6 N D",
            ("non_embedding" if first else "with_head", "six_n"),
            (331776, 825876480) if first else (5173248, 901726208),
            (1.25e16, 1.28e19 if first else 2.56e19),
            "Akima minima of isoFLOP curves, weighted line",
            "arXiv 2406.19146, results in github.com/formll/resolving-scaling-law-discrepancies",
            "read",
        )

    return tuple(row(*values) for values in _PORIAN)


def _pearce() -> tuple[Result, ...]:
    """Pearce & Song 2024: the law of all parameters seen in a count without embeddings, and their own small runs."""

    def row(quantity: str, measure: Measure, value: float, is_total: bool, obtained: Obtained, place: str, note: str) -> Result:
        own = obtained == "quoted"
        return Result(
            "Pearce & Song 2024",
            quantity,
            measure,
            value,
            None,
            None,
            "all parameters" if is_total else "parameters without embeddings",
            "6 N D in that N",
            ("total" if is_total else "non_embedding", "six_n"),
            (0.8e6, 4.6e6) if own else (768, 1.5e9),
            None if own else PEARCE_C,
            "frontier of small runs (BookCorpus, context 16)" if own else "line through the optima of a law of all parameters",
            f"arXiv 2406.12907, {place}",
            obtained,
            note,
        )

    once = "From one transcription of the paper."
    epoch = local_exponent(PEARCE_C, **_BESIROGLU)
    hoffmann = local_exponent(PEARCE_C, **_HOFFMANN)
    place = "equation of N*(C) in the authors' script"
    return (
        row(
            "a in N* ∝ C^a, Besiroglu's law",
            "a_envelope",
            epoch,
            False,
            "computed",
            place,
            "The paper prints 0.78, from 20 sizes.",
        ),
        row(
            "a in N* ∝ C^a, Hoffmann's law",
            "a_envelope",
            hoffmann,
            False,
            "computed",
            place,
            "The paper prints 0.74, from 20 sizes.",
        ),
        row("a in N* ∝ C^a, small runs", "a_envelope", 0.74, False, "quoted", "experiments", once),
        row("a in N* ∝ C^a, small runs", "a_envelope", 0.49, True, "quoted", "experiments", once),
    )


def local_exponent(c_range: Interval, A: float, B: float, alpha: float, beta: float, omega: float = PEARCE_OMEGA) -> float:
    """Slope of log N* by log C without embeddings, where the additive law holds in N_total = N + omega N^(1/3).

    The optimum of A / N_total^alpha + B / (C / 6 N)^beta at fixed C, solved for C (Pearce & Song 2024, in their script):
    C = 6 N (N + omega N^(1/3) / 3)^(-1/beta) N_total^((1 + alpha)/beta) (beta B / (alpha A))^(1/beta).

    Args:
        c_range: smallest and largest C of the line, FLOPs, C = 6 N D without embeddings.
        A: coefficient of the parameter term, nats per token.
        B: coefficient of the data term, nats per token.
        alpha: exponent of N_total.
        beta: exponent of D.
        omega: parameters of the embeddings at N = 1.
    """
    log_n = np.linspace(np.log(1e2), np.log(1e13), 4000)
    n = np.exp(log_n)
    embedding = omega * np.cbrt(n)
    log_ratio = np.log(beta * B / (alpha * A)) - np.log(n + embedding / 3) + (1 + alpha) * np.log(n + embedding)
    log_c = np.log(6 * n) + log_ratio / beta
    at = np.linspace(np.log(c_range[0]), np.log(c_range[1]), 200)
    return float(np.polyfit(at, np.interp(at, log_c, log_n), 1)[0])


def _tokens_per_parameter(c: float, A: float, B: float, alpha: float, beta: float) -> float:
    """D*/N* at c FLOPs under C = 6 N D. Hoffmann et al. 2022, eq. 4."""
    n = (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * (c / 6) ** (beta / (alpha + beta))
    return float(c / (6 * n * n))
