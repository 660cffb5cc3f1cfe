"""Published measurements as tables of points, with their source, licence and conventions.

`published_points` is the one entry; what was changed against the origin is written in SOURCES.md beside the files. A study
with several settings has variants. The fits of these tables are in `fit`; this module knows no law.
"""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from scalesweep.counting import LossMetric
from scalesweep.errors import PointsError, did_you_mean
from scalesweep.points.metric import METRICS
from scalesweep.points.points import Points, points_from_rows

Row = Mapping[str, str]
NUM_CHINCHILLA_OUTLIERS = 5
"""Highest losses that Besiroglu et al. 2024 leave out."""
_NORMAL_95 = 1.959964
"""Half-width of a normal 95 % interval in standard errors."""


@dataclass(frozen=True)
class Table:
    """One variant of a study, ready to become points."""

    rows: Sequence[dict[str, Any]]
    """Rows with the canonical columns."""
    params_convention: str
    """What n counts."""
    flops_convention: str
    """What c counts."""
    notes: tuple[str, ...] = ()
    """What a reader of the fit has to know."""
    metric: LossMetric = "nats_per_token"
    """What `loss` is."""


@dataclass(frozen=True)
class Study:
    """A published study."""

    reference: str
    """Authors, year, arXiv number, and who digitised."""
    origin: str
    """Where this copy comes from, with its licence."""
    read: Callable[[Sequence[Row], str], Table]
    """From the rows of its file and the name of a variant to the table."""
    variants: Callable[[Sequence[Row]], tuple[str, ...]]
    """Names of the variants in its file, the default first."""


def published_points(name: str, variant: str | None = None) -> Points:
    """The measured points of a published study.

    Args:
        name: one of `published_names()`.
        variant: one of `published_variants(name)`; by default the first.

    Returns:
        Points, N in parameters, D in tokens, C in FLOPs, loss in nats per token unless a note says otherwise. Rows that the
        published analysis leaves out carry an `excluded_reason`; the first note is the attribution.

    Raises:
        PointsError: there is no such study or variant.
    """
    study, rows = _study(name), _rows(name)
    allowed = study.variants(rows)
    chosen = allowed[0] if variant is None else variant
    if chosen not in allowed:
        raise PointsError(f"{name} has no variant {chosen!r}{did_you_mean(chosen, allowed)}; it has {', '.join(allowed)}.")
    table = study.read(rows, chosen)
    source = f"{name} ({chosen})" if len(allowed) > 1 else name
    points = points_from_rows(table.rows, table.params_convention, table.flops_convention, source)
    return replace(points, notes=(published_source(name), *table.notes), metric=METRICS[table.metric])


def published_names() -> tuple[str, ...]:
    """The studies that ship with the package."""
    return tuple(_STUDIES)


def published_variants(name: str) -> tuple[str, ...]:
    """Variants of a study, the default first.

    Raises:
        PointsError: there is no such study.
    """
    return _study(name).variants(_rows(name))


def published_source(name: str) -> str:
    """The attribution of a study in one sentence.

    Raises:
        PointsError: there is no such study.
    """
    study = _study(name)
    return f"Points of {study.reference}; this copy from {study.origin}."


def _study(name: str) -> Study:
    if name not in _STUDIES:
        raise PointsError(f"There is no study {name!r}{did_you_mean(name, _STUDIES)}; there are {', '.join(_STUDIES)}.")
    return _STUDIES[name]


def _rows(name: str) -> list[Row]:
    text = files(__package__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _read_chinchilla(rows: Sequence[Row], variant: str) -> Table:
    highest = sorted((float(row["loss"]) for row in rows), reverse=True)[NUM_CHINCHILLA_OUTLIERS - 1]
    reason = f"one of the {NUM_CHINCHILLA_OUTLIERS} highest losses, which Besiroglu et al. 2024 leave out"
    points = [{**_from_compute(row), "excluded_reason": reason if float(row["loss"]) >= highest else ""} for row in rows]
    return Table(points, "as read off figure 4", "as read off figure 4", ("Column d was derived as d = c / (6 n).",))


def _read_porian(rows: Sequence[Row], variant: str) -> Table:
    count = variant.split("|")[4]
    points = [_from_compute(row) for row in rows if row["config"] == variant]
    note = "Rows lie on isoFLOP budgets, to which the authors interpolated each run's loss; d = c / (6 n) in their count."
    return Table(points, _PORIAN_COUNTS[count], "six_n", (note,))


def _read_gadre(rows: Sequence[Row], variant: str) -> Table:
    dataset, evaluation = variant.split("|")
    points = [
        {
            **_from_tokens(row),
            "loss": float(row[f"loss_{evaluation}"]),
            "loss_se": (float(row[f"hi95_{evaluation}"]) - float(row[f"lo95_{evaluation}"])) / (2 * _NORMAL_95),
            "key": row["name"],
        }
        for row in rows
        if row["dataset"] == dataset
    ]
    return Table(points, "total", "six_n", (f"Trained on {dataset}, loss on {evaluation}; loss_se is over sequences.",))


def _read_muennighoff(rows: Sequence[Row], variant: str) -> Table:
    points = [
        {
            **_from_tokens(row),
            "loss": float(row["loss"]),
            "key": row["name"],
            "unique_tokens": float(row["unique_tokens"]),
        }
        for row in rows
    ]
    note = "Most rows repeat their data: d counts repeated tokens each time, unique_tokens once. Column c was derived as 6 n d."
    return Table(points, "as published", "six_n", (note,))


def _read_nanochat(rows: Sequence[Row], variant: str) -> Table:
    points = [
        {
            "n": float(row["params"]),
            "d": float(row["tokens"]),
            "c": float(row["flops"]),
            "loss": float(row["val_bpb"]) * math.log(2),
            "val_bpb": float(row["val_bpb"]),
            "flops_printed": float(row["flops_printed"]),
        }
        for row in rows
        if row["count"] == variant
    ]
    note = "Rows are minima of isoFLOP curves, not runs. The loss is in nats per byte (val_bpb times ln 2), not per token."
    notes = (note, "The budgets are unrounded from the printed ones, see SOURCES.md.")
    return Table(points, variant, "attention", notes, "nats_per_byte")


def _from_compute(row: Row) -> dict[str, Any]:
    n, c = float(row["params"]), float(row["flops"])
    return {"n": n, "d": c / (6 * n), "c": c, "loss": float(row["loss"])}


def _from_tokens(row: Row) -> dict[str, Any]:
    n, d = float(row["params"]), float(row["tokens"])
    return {"n": n, "d": d, "c": 6 * n * d}


def _only(rows: Sequence[Row]) -> tuple[str, ...]:
    return ("all",)


def _column(name: str) -> Callable[[Sequence[Row]], tuple[str, ...]]:
    """Variants are the values of a column."""
    return lambda rows: tuple(dict.fromkeys(row[name] for row in rows))


def _gadre_variants(rows: Sequence[Row]) -> tuple[str, ...]:
    """Training data and evaluation set; the authors' own extrapolation comes first."""
    datasets = dict.fromkeys(row["dataset"] for row in rows)
    evaluations = [column.removeprefix("loss_") for column in rows[0] if column.startswith("loss_")]
    every = [f"{dataset}|{evaluation}" for dataset in datasets for evaluation in evaluations]
    return tuple(sorted(every, key=lambda variant: variant != "rpj|c4_val"))


_PORIAN_COUNTS = {
    "kaplan": "non_embedding",
    "standard": "with_head",
    "attention": "with_head, and the FLOPs of attention as effective parameters",
}
_STUDIES = {
    "chinchilla": Study(
        "Hoffmann et al. 2022 (arXiv 2203.15556), figure 4, digitised by Besiroglu et al. 2024 (Epoch AI, arXiv 2404.10102)",
        "github.com/mcleish7/gemstone-scaling-laws (MIT)",
        _read_chinchilla,
        _only,
    ),
    "porian": Study(
        "Porian et al. 2024 (arXiv 2406.19146)",
        "github.com/formll/resolving-scaling-law-discrepancies (MIT)",
        _read_porian,
        _column("config"),
    ),
    "gadre": Study(
        "Gadre et al. 2024 (arXiv 2403.08540)", "github.com/mlfoundations/scaling (MIT)", _read_gadre, _gadre_variants
    ),
    "muennighoff": Study(
        "Muennighoff et al. 2023 (arXiv 2305.16264)",
        "github.com/huggingface/datablations (Apache-2.0)",
        _read_muennighoff,
        _only,
    ),
    "nanochat": Study(
        "Karpathy, nanochat (dev/LOG.md)", "github.com/karpathy/nanochat (MIT)", _read_nanochat, _column("count")
    ),
}
