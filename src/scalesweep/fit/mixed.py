"""Warnings about tables that mix recipes: equal (N, D) under other settings, families, evaluation sets."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.fit.results import Finding
from scalesweep.points.design import find_levels
from scalesweep.points.mixtures import find_repeats, is_evaluation, kind_of
from scalesweep.points.points import Points
from scalesweep.units import plural

MIXED_P_VALUE = 0.001
"""Of the F test of A19, divided by the number of columns looked at."""
SAME_TOKENIZER = 0.01
"""Share by which bytes per token of one tokenizer may differ, as on shares of one text; a judgement."""
MIN_SIZES_EACH = 3
"""Sizes that every family needs before its residuals are compared with those of the others."""


def check_repeats(points: Points) -> Iterator[Finding]:
    """A18: rows of equal (N, D) that differ by more than the seed, with what varies and what to do about it.

    And rows of several tokenizers, whose losses per token are of different units.
    """
    used = points.used
    if "bytes_per_token" in used and points.metric.unit.endswith("per token"):
        sizes = used["bytes_per_token"].dropna().to_numpy(dtype=np.float64)
        if len(sizes) and sizes.max() > (1 + SAME_TOKENIZER) * sizes.min():
            yield Finding(
                "A18",
                f"The rows' tokens hold {sizes.min():.2f} to {sizes.max():.2f} bytes: losses per token of several tokenizers "
                "are fitted as if they were of one unit. Fit bits per byte (of a sweep count.loss=bpb), or each tokenizer by "
                "itself.",
            )
    found = find_repeats(points.used)
    if found is None:
        return
    rows = f"{found.num_rows} rows are {plural(found.num_cells, 'cell')} of equal N and D"
    if found.evaluations:
        name = next(iter(found.evaluations))
        yield Finding(
            "A18",
            f"{rows} at {_values(found.evaluations)}: one run's losses on several evaluation sets are fitted as if they were "
            f"several runs of one loss. Fit each by itself: by={name}.",
        )
    if found.families:
        name = next(iter(found.families))
        yield Finding(
            "A18",
            f"{rows} at {_values(found.families)}: one law of them all is that of no recipe, and its intervals take their "
            f"difference for noise. Fit each its own law: by={name}.",
        )
    if found.settings:
        yield Finding(
            "A18",
            f"{rows} at {_values(found.settings)}: a law of them all is that of the average setting, not of the best, and its "
            f"intervals take what the settings do for noise. Fit the tuned frontier: tune={','.join(found.settings)}.",
        )


def check_families(points: Points, residual: FloatArray) -> Iterator[Finding]:
    """A19: a column of words by which the residuals of the joint law differ.

    One-way F test of the mean residuals of each (family, size), because rows of one size may share their noise; every family
    has `MIN_SIZES_EACH` sizes or more. A law that was fitted to all of them has taken up part of their difference.

    Args:
        points: measured rows.
        residual: log L - log L_predicted of the used rows, shape (rows,).
    """
    repeats, frame = find_repeats(points.used), points.used
    said = {*repeats.families, *repeats.evaluations} if repeats else set()
    tested = {}
    for name in map(str, frame):
        if kind_of(frame, name) in ("families", "evaluations") and name not in said:
            labels = frame[name].astype(str).tolist()
            if (means := _means_by_size(labels, find_levels(points.n), residual)) is not None:
                tested[name] = means
    for name, means in tested.items():
        p_value, gap = _f_test(means)
        if p_value >= MIXED_P_VALUE / len(tested):
            continue
        what = "evaluation sets" if is_evaluation(frame, name) else "families"
        yield Finding(
            "A19",
            f"Residuals of the joint law differ between the {plural(len(means), 'value')} of {name} by up to {gap:.1%} of "
            f"the loss (F test over sizes, p = {p_value:.1g}): these are {what} with laws of their own. Fit each: by={name}.",
        )


def _means_by_size(labels: Sequence[str], sizes: IntArray, residual: FloatArray) -> Mapping[str, FloatArray] | None:
    """Of each family its mean residual at each size; None where one has too few sizes."""
    means = {}
    for label in dict.fromkeys(labels):
        mine = np.array([one == label for one in labels])
        means[label] = np.array([residual[mine & (sizes == size)].mean() for size in np.unique(sizes[mine])])
    return means if min(map(len, means.values())) >= MIN_SIZES_EACH else None


def _f_test(groups: Mapping[str, FloatArray]) -> tuple[float, float]:
    """P value of a one-way analysis of variance, and the largest difference of two means."""
    from scipy.stats import f

    values, centres = np.concatenate(list(groups.values())), [float(group.mean()) for group in groups.values()]
    within = sum(float(np.sum((group - group.mean()) ** 2)) for group in groups.values())
    between = float(np.sum((values - values.mean()) ** 2)) - within
    degrees = len(groups) - 1, len(values) - len(groups)
    ratio = between / degrees[0] / max(within / degrees[1], 1e-30)  # losses without noise leave nothing within
    return float(f.sf(ratio, *degrees)), max(centres) - min(centres)


def _values(found: Mapping[str, int]) -> str:
    return " and ".join(f"{number} values of {name}" for name, number in found.items())
