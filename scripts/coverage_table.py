"""Simulates how often each kind of interval holds the truth, on a reference design: the table of docs/coverage.md.

python scripts/coverage_table.py [--replicates NUM] [--resamples NUM]
"""

import argparse

import numpy as np

from scalesweep.fit.coverage import NoiseModel, simulate_coverage, standard_noises
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
    options = parser.parse_args()
    n, ratio = (axis.ravel() for axis in np.meshgrid(SIZES, TOKENS_PER_PARAMETER))
    noises = (
        *standard_noises(SD),
        NoiseModel("by size, weak", SD, size_share=0.3),
        NoiseModel("outliers", SD, tails="outliers"),
    )
    print(summary(simulate_coverage(n, n * ratio, LAW, noises, FitSpec(bootstrap=options.resamples), options.replicates)))


if __name__ == "__main__":
    main()
