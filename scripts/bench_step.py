"""A training step on one CPU thread: the hand-written one beside autograd, and where its time goes.

    python scripts/bench_step.py [--widths 16 32 64 128 256] [--depth 2] [--rounds 20]

Gradient of one batch of 16 windows of 32 tokens, vocabulary 512, both ways in turn; ratios are medians over rounds with their
quartiles. Then the operations of the hand-written step, timed one by one, as shares of their sum by kind; GFLOP/s counts the
`attention` convention over the whole gradient, beside the rate of a large matrix product in the same run.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from scalesweep.plan.flops import DecoderShape, flops_per_token
from scalesweep.train.device import prepare_device
from scalesweep.train.gradient import accumulate_gradient, autocast_of
from scalesweep.train.measure import peak_flops
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.tape import Tape

SEQUENCES, CONTEXT, VOCABULARY = 16, 32, 512
KINDS = {
    "matrix products": ("mm", "addmm"),
    "attention": ("bmm", "baddbmm", "softmax"),
    "softmax of the head": ("exp_", "scatter_add_", "log"),
}


def main() -> None:
    """Print a row a width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    device = prepare_device("cpu")
    print("| width | autograd / tape | GFLOP/s | of a large product | " + " | ".join([*KINDS, "the rest"]) + " |")
    print("|---" * (5 + len(KINDS)) + "|")
    for width in options.widths:
        shape = DecoderShape(width, options.depth, max(1, width // 16), width * 8 // 3 // 8 * 8, VOCABULARY, CONTEXT, True)
        model = Decoder(shape, [0], 10000.0, 1.0)
        windows = torch.randint(0, VOCABULARY, (1, SEQUENCES, CONTEXT + 1))
        tape = Tape(model, SEQUENCES)
        plain, fast = compare(partial(autograd, model, windows), partial(tape, windows[0]), options.rounds)
        ratios = [p / f for p, f in zip(plain, fast, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rate = flops_per_token(shape, "attention") * SEQUENCES * CONTEXT / statistics.median(fast)
        row = [str(width), f"x {middle:.2f} ({low:.2f} to {high:.2f})", f"{rate / 1e9:.0f}"]
        row.append(f"{rate / peak_flops(device, 'float32'):.0%}")
        row += [f"{share:.0%}" for share in shares(tape, options.rounds).values()]
        print(f"| {' | '.join(row)} |", flush=True)


def autograd(model: Decoder, windows: torch.Tensor) -> None:
    """The same by autograd."""
    for p in model.parameters():
        p.grad = None
    accumulate_gradient(model, windows, None, autocast_of(CELL, torch.device("cpu")))


class Float32:
    """What `autocast_of` asks of a cell."""

    precision = "float32"


CELL: Any = Float32()


def compare(one: Callable[[], object], other: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds a call of both, in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds + 2):
        for found, run in zip(times, (one, other), strict=True):
            started = time.perf_counter()
            for _ in range(10):
                run()
            if i > 1:
                found.append((time.perf_counter() - started) / 10)
    return times


@torch.no_grad()
def shares(tape: Tape, rounds: int) -> dict[str, float]:
    """Share of each kind of operation."""
    seconds: dict[str, float] = defaultdict(float)
    for _ in range(rounds):
        for op in tape._ops:
            started = time.perf_counter()
            op()
            name = getattr(op.func, "__name__", "")  # type: ignore[attr-defined]
            kind = next((kind for kind, names in KINDS.items() if name in names), "the rest")
            seconds[kind] += time.perf_counter() - started
    whole = sum(seconds.values())
    return {kind: seconds[kind] / whole for kind in [*KINDS, "the rest"]}


if __name__ == "__main__":
    main()
