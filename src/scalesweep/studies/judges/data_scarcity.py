"""What repeated tokens are worth, when further passes over them do harm, and what strong weight decay does about it.

Runs on a pool of U unique tokens stand beside runs on fresh ones of equal size, budget, weight decay and seed. Muennighoff et
al. 2023 (arXiv 2305.16264) found tokens at up to four epochs almost as good as fresh; Lovelace 2026 (arXiv 2605.01640) that
further repetition ends in harm, the sooner the larger N / U, and that strong weight decay takes most of it away.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from scalesweep.laws import Lovelace, Muennighoff
from scalesweep.report.charts.chart import Chart, Dots, Line, Mark, Missing, Panel, Role, linear_axis, log_axis, log_scale
from scalesweep.report.charts.chart import Rule as Level
from scalesweep.studies.base import CONFIDENCE, Arms, Control, Effect, Findings, Rule, replicate_noise
from scalesweep.studies.estimators.reuse import (
    LARGE,
    SMALL,
    FreshCurve,
    Mean,
    fresh_curves,
    has_epochs,
    is_large,
    pair,
    ratio,
    shared_worth,
    tabulate,
)
from scalesweep.studies.estimators.reuse_laws import LawFit, ReuseLaw, fit_reuse_laws, is_most_repeated, misses
from scalesweep.studies.estimators.reuse_tables import PUBLISHED, harmful_law, predict, simulate_reuse
from scalesweep.studies.estimators.tokens import tokens_to_loss
from scalesweep.units import format_count

simulate = simulate_reuse
_FRESH_WITHIN = 0.07
"""A pool that is not yet repeated must be worth 1 within this, some five standard errors of the quick grid; a prefix of the
text instead of windows from all of it, or blocks of neighbouring windows, are further off (docs/studies/data_scarcity.md)."""
_SAME_WITHIN = 0.1
"""The same of fresh runs against themselves, of which one seed is compared with one: some four standard errors."""
_DECAYS = ("weaker", "stronger")
_COLOURS: tuple[Role, Role] = ("first", "second")
"""Of these."""


def judge(arms: Arms, rule: Rule) -> Findings:
    """Judge the runs of all arms together; their names mean nothing, because size, budget, pool and decay tell rows apart.

    Raises:
        PointsError: there are no fresh runs, no repeated ones, or fewer than two seeds.
        FitError: the fresh runs do not determine a law.
    """
    table = tabulate(arms)
    pairs = pair(table)
    weak, strong = pairs[pairs["decay"] == 0], pairs[pairs["decay"] == pairs["decay"].max()]
    base = table[table["decay"] == 0]
    curves = fresh_curves(base)
    whole = dataclasses.replace(
        next(iter(arms.values())), frame=pd.concat([points.frame for points in arms.values()], ignore_index=True)
    )
    noise, replicates = replicate_noise(whole)
    laws = fit_reuse_laws(base)
    effects = {
        "four_epochs": _four_epochs(weak, curves),
        "harm": _harm(weak, noise, replicates),
        "late_passes": _late_passes(weak, base),
        **_decay(weak, strong),
        "held_out_law": _held_out(laws, base, rule),
    }
    worths = _worths(pairs, table, noise)
    return Findings(
        effects=effects,
        sentence=_sentence(effects),
        chart=_chart(worths),
        controls=(_fresh(weak, curves), _same(base, curves), *_own_tables(base, noise, rule)),
        noise=noise,
        notes=(
            "Intervals are of luck with seeds and, where each seed of a pool draws windows of its own, with these; they are of "
            "the sizes and pools that were measured.",
            "N / U decides as much as the number of epochs does.",
        ),
        tables={
            "Worth of repeated tokens": [
                {str(name): value for name, value in row.items()} for row in worths.to_dict("records")
            ],
            "Laws of repeated data": _law_rows(laws, base),
        },
    )


def _four_epochs(pairs: pd.DataFrame, curves: Mapping[float, FreshCurve]) -> Effect:
    chosen = pairs[has_epochs(pairs, 4) & (pairs["n"] <= SMALL * pairs["pool"])]
    effect = shared_worth(chosen, curves)
    models = f"models with at most {SMALL:g} parameters a unique token"
    return _saying(effect, f"At 4 epochs a token was worth {_ends(effect)} of a fresh one, for {models}.")


def _harm(pairs: pd.DataFrame, noise: float, replicates: int) -> Effect:
    """Log loss at the most epochs above the lowest at fewer.

    The other seeds choose which is the lowest: of several noisy losses the lowest is too low, and would be harm where is none.
    """
    chosen = pairs[is_large(pairs)]
    values: list[float] = []
    groups: list[object] = []
    for group, rows in chosen.groupby("group"):
        losses = rows.assign(log_loss=np.log(rows["loss"])).pivot_table(index="seed", columns="d", values="log_loss").dropna()
        if min(losses.shape) < 2:
            continue
        table = losses.to_numpy()
        for seed, own in enumerate(table):
            best = np.argmin(np.delete(table, seed, axis=0).mean(axis=0)[:-1])
            values.append(float(own[-1] - own[best]) / noise)
            groups.append(group)
    if not values:
        return Effect.missing(f"At N / U of {LARGE:g} or more no pool has two seeds at two numbers of epochs.")
    mean = Mean.of(pd.Series(values), pd.Series(groups))
    # The unit, a standard deviation by so many degrees of freedom, has an error too.
    effect = dataclasses.replace(mean, variance=mean.variance + mean.value**2 / (2 * replicates)).effect()
    size = effect
    if effect.value < 0:
        size = dataclasses.replace(effect, value=-effect.value, low=-effect.high, high=-effect.low)
    return _saying(
        effect,
        f"With at least {LARGE:g}, loss after {chosen['epochs'].max():.0f} epochs was {size.value * noise:.1%} "
        f"{'above' if effect.value >= 0 else 'below'} the lowest after fewer, {_ends(size)} standard deviations between seeds.",
    )


def _late_passes(pairs: pd.DataFrame, table: pd.DataFrame) -> Effect:
    """DD' / dD between the two largest numbers of epochs, each seed by the curve of its own fresh runs."""
    chosen = pairs[is_large(pairs)]
    fresh = table[table["is_fresh"]]
    values: list[float] = []
    groups: list[object] = []
    for (group, n, seed), rows in chosen.groupby(["group", "n", "seed"]):
        own = fresh[(fresh["n"] == n) & (fresh["seed"] == seed)]
        last = rows.sort_values("d").tail(2)
        worth = tokens_to_loss(own["d"], own["loss"], last["loss"])
        if len(last) == 2 and np.isfinite(worth).all():
            values.append(float(np.diff(worth)[0] / np.diff(last["d"])[0]))
            groups.append(group)
    if not values:
        return Effect.missing(
            f"At N / U of {LARGE:g} or more no fresh run has the losses of the two largest numbers of epochs."
        )
    effect = Mean.of(pd.Series(values), pd.Series(groups)).effect()
    epochs = np.sort(chosen["epochs"].unique())[-2:]
    return _saying(
        effect,
        f"Between {epochs[0]:.0f} and {epochs[-1]:.0f} epochs a further token was worth {_ends(effect)} of a fresh one, where "
        f"N / U is at least {LARGE:g}.",
    )


def _decay(weak: pd.DataFrame, strong: pd.DataFrame) -> dict[str, Effect]:
    """What the stronger weight decay takes off the excess over its own fresh runs, and off the loss, at the most epochs."""
    weak, strong = (rows[is_most_repeated(rows) > 0] for rows in (weak, strong))
    sizes = set(weak["n"]) & set(strong["n"])
    weak, strong = (rows[rows["n"].isin(sizes)] for rows in (weak, strong))
    if weak.empty or strong["decay"].max() == 0 or weak["pool"].min() != strong["pool"].min():
        return dict.fromkeys(
            ("decay_excess", "decay_loss"), Effect.missing("No pool was repeated as often at two weight decays.")
        )
    left = ratio(*(Mean.of(rows["loss"] - rows["fresh_loss"], rows["n"]) for rows in (strong, weak)))
    removed = dataclasses.replace(left, value=1 - left.value, low=1 - left.high, high=1 - left.low)
    times = f"{strong['weight_decay'].mean() / weak['weight_decay'].mean():.3g} times the weight decay"
    epochs = f"{weak['epochs'].max():.0f} epochs"
    percent = f"{removed.value:.0%} [{removed.low:.0%}, {removed.high:.0%}]"
    excess = _saying(removed, f"{times} took {percent} off what {epochs} cost against fresh text.")
    large = [
        Mean.of(rows["loss"], rows["n"]) for rows in (weak[is_large(weak)], strong[is_large(strong)]) if is_large(rows).any()
    ]
    if len(large) < 2:
        return {"decay_excess": excess, "decay_loss": Effect.missing(f"No size has N / U of at least {LARGE:g}.")}
    saved = Mean(large[0].value - large[1].value, large[0].variance + large[1].variance, min(mean.spare for mean in large))
    loss = saved.effect()
    return {"decay_excess": excess, "decay_loss": _saying(loss, f"After {epochs}, {times} saved {_ends(loss)} nats.")}


def _held_out(laws: Mapping[type[ReuseLaw], LawFit], table: pd.DataFrame, rule: Rule) -> Effect:
    """Root mean square error of one law over that of the other on the runs that neither saw, which are resampled."""
    unseen = table[is_most_repeated(table) > 0]
    square = np.stack([misses(laws[form].blind, unseen) ** 2 for form in (Muennighoff, Lovelace)])
    drawn = square[:, np.random.default_rng(rule.seed).integers(len(unseen), size=(rule.draws, len(unseen)))].mean(axis=2)
    low, high = np.percentile(np.sqrt(drawn[0] / drawn[1]), (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)))
    errors = np.sqrt(square.mean(axis=1))
    epochs = (unseen["d"] / unseen["pool"]).max()
    return _saying(
        Effect(float(errors[0] / errors[1]), float(low), float(high)),
        f"Fitted to fewer, Muennighoff's law misses the loss at {epochs:.0f} epochs by {errors[0]:.1%}, Lovelace's by "
        f"{errors[1]:.1%}.",
    )


def _fresh(pairs: pd.DataFrame, curves: Mapping[float, FreshCurve]) -> Control:
    once = shared_worth(pairs[pairs["epochs"] <= 1 + 1e-9], curves)
    asks = f"Tokens of a pool that was not yet repeated are worth 1 within {_FRESH_WITHIN:g}."
    if math.isnan(once.value):
        return Control("fresh", f"{asks} No such run was measured.", passed=True)
    return Control("fresh", asks, abs(once.value - 1) <= _FRESH_WITHIN, once.value, once.low, once.high, truth=1.0)


def _same(table: pd.DataFrame, curves: Mapping[float, FreshCurve]) -> Control:
    """Fresh runs of the first seed as if they were a pool, against those of the second."""
    fresh = table[table["is_fresh"]]
    first, second = np.sort(fresh["seed"].unique())[:2]
    both = fresh[fresh["seed"] == first].merge(fresh[fresh["seed"] == second], on=["n", "d"], suffixes=("", "_other"))
    both = both.assign(distance=both["log_loss"] - both["log_loss_other"], trunk=both.groupby("n").ngroup(), group=0)
    effect = shared_worth(both, curves)
    asks = f"Fresh tokens against themselves, with another seed, are worth 1 within {_SAME_WITHIN:g}."
    return Control("A/A", asks, abs(effect.value - 1) <= _SAME_WITHIN, effect.value, effect.low, effect.high, truth=1.0)


def _own_tables(table: pd.DataFrame, noise: float, rule: Rule) -> list[Control]:
    """Tables of this design from each law, on which the comparison must prefer it.

    They depend on the losses by their noise alone, to one digit, so that simulated tables of one design share them.
    """
    rows = table[["n", "d", "pool", "is_fresh"]].itertuples(index=False, name=None)
    gaps = _planted_gaps(tuple(rows), float(f"{noise:.0e}"), rule.seed)
    asks = "Of a table from {}'s law, that law has the lower criterion; the number is Lovelace's minus Muennighoff's."
    return [
        Control("planted Muennighoff", asks.format("Muennighoff"), gaps[0] > 0, gaps[0]),
        Control("planted Lovelace", asks.format("Lovelace"), gaps[1] < 0, gaps[1]),
    ]


@functools.lru_cache(maxsize=8)
def _planted_gaps(rows: tuple[tuple[float, ...], ...], noise: float, seed: int) -> tuple[float, float]:
    """AICc of Lovelace's law minus that of Muennighoff's, on a table from Muennighoff's and on one from Lovelace's."""
    table = pd.DataFrame(rows, columns=["n", "d", "pool", "is_fresh"])
    rng = np.random.default_rng(seed)
    gaps = []
    for truth in (PUBLISHED, harmful_law(table)):
        laws = fit_reuse_laws(table.assign(log_loss=np.log(predict(truth, table)) + noise * rng.standard_normal(len(table))))
        gaps.append(laws[Lovelace].aicc - laws[Muennighoff].aicc)
    return gaps[0], gaps[1]


def _sentence(effects: Mapping[str, Effect]) -> str:
    """Worth in one sentence, harm and what weight decay does about it in another."""
    first, *others = (effects[name].says for name in ("four_epochs", "harm", "decay_excess"))
    return " ".join(part for part in (first, "; ".join(said.rstrip(".") for said in others if said) + ".") if len(part) > 1)


def _worths(pairs: pd.DataFrame, table: pd.DataFrame, noise: float) -> pd.DataFrame:
    """One row for each size, pool, decay and budget: mean losses, and the worth with an interval by the noise of all runs."""
    curves = {decay: fresh_curves(table[table["decay"] == decay]) for decay in table["decay"].unique()}
    rows = []
    for _, own in pairs.groupby(["decay", "pool", "n", "epochs"]):
        decay, pool, n, epochs = own[["decay", "pool", "n", "epochs"]].iloc[0]
        worth = shared_worth(own, curves[decay], noise)
        loss, fresh = own["loss"].mean(), own["fresh_loss"].mean()
        rows.append(
            {
                "N": n,
                "U": pool,
                "N / U": n / pool,
                "epochs": epochs,
                "decay": _DECAYS[int(decay > 0)],
                "loss": loss,
                "fresh loss": fresh,
            }
            | {"worth": worth.value, "low": worth.low, "high": worth.high}
        )
    return pd.DataFrame(rows)


def _law_rows(laws: Mapping[type[ReuseLaw], LawFit], table: pd.DataFrame) -> list[dict[str, object]]:
    unseen = table[is_most_repeated(table) > 0]
    return [
        {
            "law": form.__name__,
            "AICc": fit.aicc,
            "error at the most epochs": float(np.sqrt(np.mean(misses(fit.blind, unseen) ** 2))),
            "formula": fit.law.formula(),
        }
        for form, fit in laws.items()
    ]


def _chart(worths: pd.DataFrame) -> Chart | Missing:
    """Left, worth against epochs; right, loss against epochs of the smallest model that is large for the smallest pool."""
    known = worths[(worths["decay"] == _DECAYS[0]) & (worths["high"] > 0)]
    if known.empty:
        return Missing("data_scarcity", "worth of a token against epochs", "No pool has a worth with an interval.")
    ticks = sorted({float(f"{ratio:.2g}") for ratio in known["N / U"]})
    whole = np.concatenate([known["N / U"], ticks])
    scale = dataclasses.replace(log_scale("number", whole, ticks), label="N / U")
    left: list[Mark] = [Level("y", 1.0, "dash")]
    for _, own in known.groupby(["N", "U"]):
        x, y, share = own["epochs"].to_numpy(), own["worth"].to_numpy(), float(own["N / U"].iloc[0])
        name = f"{format_count(own['N'].iloc[0])} on {format_count(own['U'].iloc[0])}"
        ends = own["low"].to_numpy(), own["high"].to_numpy()
        left += [Line(x, y, share, name=name, group=name), Dots(x, y, np.full(len(x), share), *ends, group=name)]
    # The intervals of flat fresh curves would squeeze all others.
    highest = np.minimum(known["high"].to_numpy(), 1.25)
    smallest = worths[worths["U"] == worths["U"].min()]
    large = smallest[smallest["N / U"] >= LARGE]
    n = (large if len(large) else smallest)["N"].min()
    chosen, right = smallest[smallest["N"] == n], list[Mark]()
    for decay, colour in zip(_DECAYS, _COLOURS, strict=True):
        own = chosen[chosen["decay"] == decay]
        if own.empty:
            continue
        x, y, name = own["epochs"].to_numpy(), own["loss"].to_numpy(), f"{decay} weight decay"
        right += [Line(x, y, colour, name=name), Dots(x, y, colour)]
        right.append(Line(x, own["fresh loss"].to_numpy(), colour, "dash", name=f"{name}, fresh"))
    losses = np.concatenate([chosen["loss"], chosen["fresh loss"]])
    size = f"{format_count(n)} parameters, {format_count(smallest['U'].min())} unique tokens"
    return Chart(
        "data_scarcity",
        "What a token is worth after several passes, as a share of a fresh one, with intervals over seeds; and the loss of "
        "runs on a small pool beside that of runs on fresh tokens.",
        (
            Panel(
                "worth of a token",
                log_axis("number", known["epochs"].to_numpy(), label="epochs D / U"),
                linear_axis("number", "D' / D", known["worth"].to_numpy(), highest, np.array([0.0, 1.0])),
                tuple(left),
            ),
            Panel(
                size,
                log_axis("number", chosen["epochs"].to_numpy(), label="epochs D / U"),
                log_axis("loss", losses),
                tuple(right),
            ),
        ),
        scale,
    )


def _ends(effect: Effect) -> str:
    return f"{effect.value:.2f} [{effect.low:.2f}, {effect.high:.2f}]"


def _saying(effect: Effect, says: str) -> Effect:
    """The effect with its sentence, where it has a number."""
    return dataclasses.replace(effect, says=says if math.isfinite(effect.value) else "")
