"""What decides whether the CUDA path works on a GPU, and how fast it is: the first half of scripts/accept_gpu.sh.

    python scripts/accept/gpu.py [--seconds 330] [--out FILE.json] [--device cuda:0]

Sections in the order of what would hurt most, each as long as time is left. A line is OK, FAULT, FIGURE (a measurement), or
SKIPPED (no time was left), and what it decides stands below it. Every number was measured in this call; what was not is a dash.
`--device cpu` rehearses every section with tiny models and without a GPU: it shows that the program runs, and decides nothing.
Exit code 1 after a FAULT.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from parts import Acceptance, run
from speed import attention, speed
from steps import capture, ceilings, facts, failed_capture, memory, same_numbers

from scalesweep.train.device import prepare_device


def main() -> int:
    """Run the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=330, help="time to take at most, but for the section that runs (330)")
    parser.add_argument("--out", type=Path, help="file of the findings as JSON")
    parser.add_argument("--device", default="cuda:0", help="cuda:0, another GPU, or cpu for a rehearsal (default: cuda:0)")
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        print("accept_gpu: PyTorch sees no GPU here, so there is nothing to accept; --device cpu rehearses.", file=sys.stderr)
        return 2
    found = Acceptance(prepare_device(options.device), options.seconds)
    if found.is_rehearsal:
        print("A rehearsal on the CPU with tiny models: it decides nothing about a GPU.")
    for section in (facts, ceilings, same_numbers, capture, memory, attention, speed, failed_capture):
        run(section, found, section.__name__)
        if options.out:  # after each: a driver may take the process with it
            options.out.write_text(json.dumps(found.lines, indent=1) + "\n")
    return found.end()


if __name__ == "__main__":
    sys.exit(main())
