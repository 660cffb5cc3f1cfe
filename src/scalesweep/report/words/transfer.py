"""Coordinate checks and learning rates by size as text for a terminal."""

from scalesweep.analysis.tuning.transfer import SETTLED, TOLERANCE, CoordinateCheck, LearningRates


def summarise_coordinates(check: CoordinateCheck) -> str:
    """A table of activations after the last update, with the worst slopes and a verdict."""
    width = max(len(place) for place in check.values)
    updates = next(iter(check.values.values())).shape[1] - 1
    sizes = "".join(f"{size:>9}" for size in check.sizes)
    lines = [f"Coordinate check over {check.axis}: mean |x| after {updates} updates"]
    lines.append(f"  {check.axis:{width}} {sizes}  worst slope (log10 per doubling)")
    for place, values in check.values.items():
        lines.append(f"  {place:{width}} " + "".join(f"{v:9.3g}" for v in values[:, -1]) + f"  {check.worst(place):+.3f}")
    verdict = "holds" if check.holds else "FAILS"
    lines.append(f"  {verdict}: largest slope after update {SETTLED} against a tolerance of {TOLERANCE}")
    return "\n".join(lines)


def summarise_rates(rates: LearningRates) -> str:
    """A table of mean losses, optima, and how far they drift."""
    lines = ["Learning rate: mean validation loss (nats/token) by size and recipe.lr"]
    lines.append("      size" + "".join(f"{lr:>9.3g}" for lr in rates.lrs) + "   optimum")
    for (width, depth), row, optimum in zip(rates.sizes, rates.losses.mean(-1), rates.optima, strict=True):
        mark = "" if optimum.interior else "  (edge of the grid: widen lrs)"
        lines.append(f"{f'{width}x{depth}':>10}" + "".join(f"{v:9.4f}" for v in row) + f"{optimum.lr:10.3g}{mark}")
    edge = "" if all(o.interior for o in rates.optima) else ", at least, for some optima lie on the edge of the grid"
    lines.append(f"  the optimum drifts by a factor of {rates.drift:.2f} over these sizes{edge}")
    return "\n".join(lines)
