"""Simulates how often each kind of interval holds the truth, on reference designs: the tables of docs/coverage.md.

python scripts/coverage_table.py [--laws joint|lines] [--replicates NUM] [--resamples NUM]
"""

import argparse
import math

import numpy as np

from scalesweep.fit.coverage import NoiseModel, simulate_coverage, standard_noises
from scalesweep.fit.line_coverage import claimed_trends, reference_designs, simulate_line
from scalesweep.laws import Chinchilla
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

LAW = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
"""Hoffmann et al. 2022, as printed."""
SIZES = np.geomspace(5e6, 1.6e8, 6)
TOKENS_PER_PARAMETER = np.array([5.0, 10, 20, 40, 80])
SD = 0.005


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=400, help="simulated sweeps for each noise (default: 400)")
    parser.add_argument("--resamples", type=int, default=400, help="bootstrap resamples for each interval (default: 400)")
    parser.add_argument("--laws", choices=("joint", "lines"), default="joint", help="which laws (default: joint)")
    options = parser.parse_args()
    spec = FitSpec(bootstrap=options.resamples)
    if options.laws == "lines":
        print_lines(spec, options.replicates)
        return
    n, ratio = (axis.ravel() for axis in np.meshgrid(SIZES, TOKENS_PER_PARAMETER))
    noises = (
        *standard_noises(SD),
        NoiseModel("by size, weak", SD, size_share=0.3),
        NoiseModel("outliers", SD, tails="outliers"),
    )
    print(summary(simulate_coverage(n, n * ratio, LAW, noises, spec, options.replicates)))


def print_lines(spec: FitSpec, replicates: int) -> None:
    """The laws of one variable: the line's exponent, and the band at twice the largest value."""
    error = math.sqrt(spec.confidence * (1 - spec.confidence) / replicates)
    print(f"Coverage of {spec.confidence:.0%} intervals of laws of one variable in {replicates} simulated sweeps a line;")
    print(f"a share that is right has a standard error of {error:.1%}. {spec.bootstrap} draws, seed {spec.seed}.")
    print(f"Truth: {LAW.formula()}. Noise: independent, normal.\n")
    print(f"{'design':<17}{'runs a cell':>12}{'noise':>8}{'exponent':>10}{'band at 2x':>12}{'its width':>11}{'withheld':>10}")
    for design in reference_designs(SIZES.tolist(), TOKENS_PER_PARAMETER.tolist()):
        for seeds in (1, 3):
            for sd in (0.03, SD):
                row = simulate_line(design, LAW, seeds, sd, spec, replicates)
                shares = f"{row.exponent:>10.1%}{row.band:>12.1%}{row.width:>11.2%}{row.withheld:>10.1%}"
                print(f"{row.design:<17}{row.seeds:>12}{row.sd:>8.1%}{shares}", flush=True)
    for num in (5, 8, 20):
        share = claimed_trends(num, 0.03, spec, replicates)
        print(f"Pure noise on a ray of {num} runs: a fall is claimed in {share:.1%}.", flush=True)


if __name__ == "__main__":
    main()
