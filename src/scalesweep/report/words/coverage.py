"""A table of coverage as text for a terminal."""

from scalesweep.fit.coverage import QUANTITIES, CoverageTable, Method, NoiseModel
from scalesweep.units import format_share


def summarise(table: CoverageTable) -> str:
    """The table as text: coverage in per cent, and the median width of the forecast's interval."""
    present = {(row.noise, row.method): None for row in table.rows}
    names = ["alpha", "beta", "E", "loss at 10x C", "width at 10x C"]
    lines = [
        f"Coverage of {table.confidence:.0%} intervals in {table.replicates} simulated sweeps of {table.num_points} points "
        f"at {table.num_sizes} model sizes;",
        f"a share that is right has a standard error of {table.standard_error:.1%}. {table.bootstrap} resamples, "
        f"seed {table.seed}.",
        f"Truth: {table.law}.",
        *(f"Noise {noise.name}: {_describe(noise)}." for noise in table.noises),
        "",
        f"{'noise':<14}{'interval':<10}" + "".join(f"{name:>16}" for name in names),
    ]
    return "\n".join(lines + [_line(table, noise, method) for noise, method in present])


def _line(table: CoverageTable, noise: str, method: Method) -> str:
    found = {row.quantity: row for row in table.rows if (row.noise, row.method) == (noise, method)}
    cells = [f"{format_share(found[name].covered, 1)}" if name in found else "-" for name in QUANTITIES]
    width = format_share(found["loss_10x"].width) if "loss_10x" in found else "-"
    return f"{noise:<14}{method:<10}" + "".join(f"{cell:>16}" for cell in [*cells, width])


def _describe(noise: NoiseModel) -> str:
    """A noise model in words."""
    tails = {
        "normal": "normal",
        "t3": "Student's t with 3 degrees of freedom",
        "outliers": "normal, 5% of the points ten times as far",
    }[noise.tails]
    shared = f", {noise.size_share:.0%} of the variance shared by the points of a size" if noise.size_share else ""
    return f"sd {format_share(noise.sd)} of the loss, {tails}{shared}"
