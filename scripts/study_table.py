"""Operating characteristics of the rules of studies, in Markdown: how often each word is said where the effect is known.

Trains nothing and prepares no corpus: the design is that of the quick form on a corpus that never runs out.
"""

import argparse

from scalesweep.settings.compose import study_names
from scalesweep.studies.base import NOISE
from scalesweep.studies.load import load_study
from scalesweep.studies.measure import design
from scalesweep.studies.simulate import operating, operating_lines


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="studies (default: all)")
    parser.add_argument("--tables", type=int, default=200, help="simulated tables for each truth of each part")
    parser.add_argument("--noise", type=float, default=NOISE, help="standard deviation of log loss between seeds")
    options = parser.parse_args()
    for name in options.names or study_names():
        study = load_study(name)
        print("\n".join(operating_lines(operating(study, design(study, "quick"), options.tables, options.noise), name)))
        print(flush=True)


if __name__ == "__main__":
    main()
