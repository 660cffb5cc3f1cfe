"""Rolling-origin back-test of the printed intervals on the published studies: error, bias, coverage, abstentions.

    python scripts/bench_backtest.py [--axis c|n|d] [--resamples 200] [--forms A,B] [--each]

Rules and forms were fixed before this was run. Studies share sources, and the rows of one origin share its errors, so that the
shares are not of independent trials; the last lines weight every table of points alike.
"""

import argparse
import time
from dataclasses import replace

import numpy as np

from scalesweep.analysis.forecast.backtest import AXES, Axis, Kind, Outcomes, back_test, tabulate
from scalesweep.analysis.forecast.rivals import THEORIES
from scalesweep.points.points import Points
from scalesweep.points.published import published_points, published_variants
from scalesweep.report.words.backtest import render_rows
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec


def studies() -> dict[str, Points]:
    """Published tables with joint points: Gadre on two evaluations that resemble the training data, Porian's tuned runs."""
    gadre = [v for v in published_variants("gadre") if v.split("|")[1] in ("c4_val", "openlm")]
    porian = [v for v in published_variants("porian") if "|tuned|" in v]
    named = [("chinchilla", None), *(("gadre", v) for v in gadre), *(("porian", v) for v in porian)]
    tables = {points.source: points for points in (published_points(name, variant) for name, variant in named)}
    return tables | {"muennighoff, at most one epoch": _unrepeated(published_points("muennighoff"))}


def _unrepeated(points: Points) -> Points:
    frame = points.frame.copy()
    repeated = frame["d"] > 1.001 * frame["unique_tokens"]
    frame.loc[repeated, "excluded_reason"] = "more than one epoch"
    return replace(points, frame=frame, source="muennighoff, at most one epoch")


def main() -> None:
    """Print a table a study, and all together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--axis", choices=list(AXES), default="c")
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--forms", default=",".join(THEORIES), help="rivals, with commas")
    parser.add_argument("--each", action="store_true", help="print the table of every study")
    arguments = parser.parse_args()
    axis: Axis = arguments.axis
    spec = FitSpec(bootstrap=arguments.resamples)
    parts: list[Outcomes] = []
    for points in studies().values():
        begun = time.perf_counter()
        result = back_test(points, spec, axis, forms=arguments.forms.split(","))
        if result.outcomes is not None:
            parts.append(result.outcomes)
        if arguments.each:
            print(f"{summary(result)}\n  {len(result.cuts)} origins, {time.perf_counter() - begun:.1f} s\n", flush=True)
    print(f"All {len(parts)} tables by {AXES[axis]}, every prediction alike")
    print("\n".join(render_rows(tabulate(Outcomes.join(parts)), spec.confidence)))
    refused = [part.holds("honest")[part.abstained] for part in parts]
    print(f"\nWhere it abstained, the interval that it withheld held {np.mean(np.concatenate(refused)):.0%} of rows.")
    print(f"\nEvery table alike, {spec.confidence:.0%} intervals, where the tool did not abstain:")
    kinds: tuple[tuple[Kind, str], ...] = (
        ("honest", "honest"),
        ("form", "preferred law, a run"),
        ("form_mean", "preferred law, the mean"),
        ("additive", "additive law, a run"),
        ("additive_mean", "additive law, the mean"),
    )
    for kind, words in kinds:
        shares = [np.mean(part.holds(kind)[~part.abstained]) for part in parts if not part.abstained.all()]
        means = [share for part in parts for share in _origin_means(part, kind)]
        print(
            f"  {words:<24} holds {np.mean(shares):.0%} of rows (lowest of a table {np.min(shares):.0%}), "
            f"{np.mean(means):.0%} of {len(means)} origins' mean log losses"
        )


def _origin_means(part: Outcomes, kind: Kind) -> list[bool]:
    """For each origin, whether the mean interval over its rows holds the mean of what was measured."""
    held = []
    for cut in np.unique(part.cut):
        rows = (part.cut == cut) & ~part.abstained & np.isfinite(part.lows[kind])
        if rows.any():
            held.append(bool(part.lows[kind][rows].mean() <= part.actual[rows].mean() <= part.highs[kind][rows].mean()))
    return held


if __name__ == "__main__":
    main()
