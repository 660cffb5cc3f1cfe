"""Operating characteristics: how often the rule of a study says each word of simulated tables with a known effect.

A rule errs where it says supported although the effect is the null, or contradicted although it is the claim; both at most 5 %.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from scalesweep.errors import FitError, PointsError
from scalesweep.studies.base import NOISE, Arms, Effect, Rule, decide
from scalesweep.studies.load import SIMULATED_DRAWS, Study

MOST_WRONG = 0.05
"""Share of wrong words that a rule may have at each of its thresholds."""


def operating(
    study: Study,
    arms: Arms,
    tables: int,
    noise: float = NOISE,
    parts: Collection[str] | None = None,
    draws: int = SIMULATED_DRAWS,
) -> list[dict[str, Any]]:
    """One row for each part with thresholds and each of its two truths.

    Args:
        study: whose rule is tried.
        arms: its design; losses are not looked at.
        tables: simulated for each row.
        noise: standard deviation of log loss.
        parts: names of those that are tried; all by default.
        draws: resamples behind each interval.
    """
    rows = []
    for i, part in enumerate(study.spec.parts):
        if part.claim_at is None or part.null_at is None or part.name not in (parts or [part.name]):
            continue
        for j, (truth, theta) in enumerate((("null", part.null_at), ("claim", part.claim_at))):
            words: Counter[str] = Counter()
            for table in range(tables):
                rng = np.random.default_rng([study.spec.seed, i, j, table])
                try:
                    drawn = study.module.simulate(arms, part.name, theta, noise, rng)
                except KeyError:  # an effect that no table can have planted
                    break
                words[decide(part, _effect(study, drawn, part.name, draws)).word] += 1
            if words:
                shares = {word.replace(" ", "_"): words[word] / tables for word in ("supported", "contradicted", "cannot tell")}
                rows.append({"part": part.name, "truth": truth, "theta": theta, "tables": tables, "noise": noise, **shares})
    return rows


def operating_lines(rows: Sequence[dict[str, Any]], name: str) -> list[str]:
    """The rows as a table in Markdown, which a terminal shows as well; a share that must not exceed `MOST_WRONG` is marked."""
    lines = [f"| {name} | true effect | supported | contradicted | cannot tell |", "|---|---|---|---|---|"]
    for row in rows:
        wrong = "supported" if row["truth"] == "null" else "contradicted"
        shares = [
            f"{row[word]:.1%}{' (wrong)' if word == wrong else ''}" for word in ("supported", "contradicted", "cannot_tell")
        ]
        lines.append(f"| {row['part']} | {row['theta']:g} ({row['truth']}_at) | {' | '.join(shares)} |")
    tables, noise = (rows[0]["tables"], rows[0]["noise"]) if rows else (0, 0.0)
    return [
        *lines,
        "",
        f"{tables} simulated tables a row, noise {noise:.2%} of the loss; at most {MOST_WRONG:.0%} may be wrong.",
    ]


def wrong_share(row: dict[str, Any]) -> float:
    """The share of tables whose word the truth of this row makes wrong."""
    return float(row["supported"] if row["truth"] == "null" else row["contradicted"])


def _effect(study: Study, arms: Arms, part: str, draws: int) -> Effect:
    try:
        return study.findings(arms, Rule(draws, study.spec.seed)).effects[part]
    except (PointsError, FitError) as error:
        return Effect.missing(str(error))
