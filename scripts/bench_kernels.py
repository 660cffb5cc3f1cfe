"""Kernels and bytes of a training step on CUDA, beside those of nanoGPT's model of the same width and depth.

    python scripts/bench_kernels.py [--cases 64x1 64x16 256x1 800x1] [--vocabulary 256] [--list]
    tests/fakegpu/run.sh PYTHON scripts/bench_kernels.py    # without a GPU, on the stand-in; see its README

A case is a width and the runs that are stepped together: four layers, 8,192 tokens a run, contexts of 128, a vocabulary of 256,
bfloat16. `as it is` is the step that a graph captures, `compiled` the same with compiled layers, `nanoGPT` a step of one model
of bench_sweep.py's baseline, compiled whole, its batch on the device. What one step does once everything is set up:

    kernels     launches of every kind, by the profiler or by the stand-in
    MB          inputs and outputs of each operation, of each run: gathers by what they take, kernels of the compiler as it
                counts them. What is moved within an operation, and what a cache saves, are left out
    ms          modelled, of each run: the formula of plan/estimate.py for an H100, with these kernels, bytes and FLOPs

The last column is `compiled` over `nanoGPT`. --list shows every operation. No speed is measured.
"""

import argparse
import dataclasses
import gc
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch._inductor.config as inductor
from sweep_baselines import GPT, autocast
from torch import Tensor, nn
from torch._inductor.runtime.triton_heuristics import CachingAutotuner
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from scalesweep.plan import estimate
from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import DecoderShape, num_params
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.compose import compose_settings
from scalesweep.train.compiler import compiled, parts_of
from scalesweep.train.device import prepare_device
from scalesweep.train.gradient import Execution, gradient_of
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.model.module import build_model
from scalesweep.train.optim import make_optimizer
from scalesweep.train.optim.adamw import FusedAdamW, StackedAdamW
from scalesweep.train.resident import ResidentStepper
from scalesweep.units import format_count

STAND_IN: Any = importlib.import_module("counters") if importlib.util.find_spec("counters") else None
"""Its counters, in a process that runs on it."""
DEPTH, CONTEXT, BATCH = 4, 128, 8192
GATHERS = ("embedding", "index", "index_select", "gather")
"""Operations that read of their first argument as much as they return."""
SCATTERS = ("scatter_", "scatter_add_")
"""Operations that write of their first argument as much as there are indices."""
WAYS = ("as it is", "compiled", "nanoGPT")


@dataclass
class Counts:
    """What a step launches and moves; `by_kernel` the same by operation: calls and bytes."""

    kernels: int = 0
    bytes: float = 0.0
    flops: float = 0.0
    by_kernel: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, moved: float, flops: float = 0.0, launched: int = 0) -> None:
        """One call."""
        row = self.by_kernel.setdefault(name, [0.0, 0.0, 0.0])
        row[0] += 1
        row[1] += launched
        row[2] += moved
        self.bytes += moved
        self.flops += flops

    @property
    def seconds(self) -> float:
        """By the formula of `plan.estimate`."""
        products = self.flops / (estimate.SHARE * estimate.CEILING["bfloat16"])
        return self.kernels * estimate.LAUNCH + self.bytes / estimate.BANDWIDTH + products


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes bytes and FLOPs of every operation that torch does."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counts = counts

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """True, as else torch would run what it has compiled operation by operation."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do it."""
        before = launches()
        result = func(*args, **(kwargs or {}))
        counted = flop_registry.get(func._overloadpacket)
        flops = counted(*args, **(kwargs or {}), out_val=result) if counted else 0
        if moved := moved_bytes(func, args, kwargs or {}, result):
            self._counts.add(str(func), moved, flops, launches() - before)
        return result


def moved_bytes(func: Any, args: Any, kwargs: Any, result: Any) -> float:
    """Bytes that an operation reads and writes; 0 of one that looks at the same memory in another shape, or allocates."""
    name = func._overloadpacket.__name__
    made, given = tensors(result), tensors([args, kwargs])
    if "empty" in name or name == "detach":
        return 0.0
    written: list[Tensor] = []
    for number, argument in enumerate(func._schema.arguments):
        value = kwargs.get(argument.name, args[number] if number < len(args) else None)
        if argument.alias_info and argument.alias_info.is_write and argument.name != "grads":
            written += tensors(value)
    kept = {t.untyped_storage().data_ptr() for t in given}
    if not written and made and all(t.untyped_storage().data_ptr() in kept for t in made):
        return 0.0
    fresh = [t for t in made if all(t is not w for w in written)]
    overwritten = name in ("copy_", "zero_", "fill_", "zeros_like") or func._overloadname == "out"
    read = [t for t in given if not (overwritten and any(t is w for w in written))]
    if name in GATHERS:
        read = [*fresh, *read[1:]]
    if name in SCATTERS:
        written, read = read[1:2], read[1:]
    return float(sum(extent(t) for t in [*fresh, *written, *read]))


def tensors(value: Any) -> list[Tensor]:
    """Of a nest of lists."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def extent(tensor: Tensor) -> int:
    """Bytes of its different elements."""
    sizes = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
    return int(np.prod(sizes, dtype=np.int64)) * tensor.element_size() if tensor.numel() else 0


def launches() -> int:
    """Kernels that the stand-in has counted so far; 0 on a GPU, where the profiler counts."""
    if STAND_IN is None:
        return 0
    return sum(number for name, number in STAND_IN.report().items() if name.startswith("launched_"))


@contextmanager
def counted_triton(counts: Counts) -> Iterator[None]:
    """Note the bytes of every kernel that torch's compiler made.

    They are those that the compiler counts, which adds up overlapping parts of a tensor, and at most all that it is given.
    """
    launch = CachingAutotuner.run

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = launches()
        result = launch(self, *args, **kwargs)  # type: ignore[no-untyped-call]
        named = [(name, a) for name, a in zip(self.fn.arg_names, args, strict=False) if isinstance(a, Tensor)]
        most = sum(extent(a) * (2 if name.startswith("in_out") else 1) for name, a in named)
        moved = min(most, (self.inductor_meta.get("kernel_num_gb") or math.inf) * 1e9)
        counts.add(self.fn.__name__, moved, 0.0, launches() - before)
        return result

    CachingAutotuner.run = run  # type: ignore[method-assign]
    try:
        yield
    finally:
        CachingAutotuner.run = launch  # type: ignore[method-assign]


def count(step: Callable[[], object]) -> Counts:
    """What a step does after two that set everything up."""
    step()
    step()
    counts = Counts()
    before = launches()
    with counted_triton(counts), Traffic(counts):
        step()
    counts.kernels = launches() - before if STAND_IN else profiled(step)
    return counts


def profiled(step: Callable[[], object]) -> int:
    """Kernels, copies and fills of a step on a GPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    return sum(event.device_type.name == "CUDA" for event in profile.events() or [])


def cell_of(width: int, vocabulary: int) -> Cell:
    """A cell of this width, as in scripts/accept_gpu.sh."""
    words = [
        "recipe=gpu",
        "logger=none",
        f"sweep.sizes=[{{width: {width}, depth: {DEPTH}}}]",
        "sweep.budgets=[64M]",
        "sweep.seeds=[0]",
        f"model.context={CONTEXT}",
        "recipe.batch_exponent=0",
        f"recipe.batch_tokens={BATCH}",
        "train.precision=bfloat16",
    ]
    return make_plan(compose_settings(words), CorpusFacts("random", "0" * 16, vocabulary, 10**8), "cuda").cells[0]


def ours(cell: Cell, runs: int, device: torch.device, is_compiled: bool) -> Counts:
    """A step of the decoder, as it is captured."""
    cells = [dataclasses.replace(cell, seed=seed) for seed in range(runs)]
    model = build_model(cells).to(device)
    optimizer = make_optimizer(model, cells)
    assert isinstance(model, Decoder) and isinstance(optimizer, FusedAdamW | StackedAdamW)
    tokens = np.random.default_rng(0).integers(0, cell.shape.vocab_size, 64 * (cell.batch_tokens + 1)).astype(np.int64)
    stepper = ResidentStepper(optimizer, cells, tokens, gradient_of(model, cells, Execution(device)), device, 0)
    if not is_compiled:
        return count(stepper.body)
    with compiled(parts_of(model, optimizer)):
        return count(stepper.body)


def nanogpt(cell: Cell, device: torch.device) -> Counts:
    """A step of `sweep_baselines.nanogpt`."""
    assert isinstance(cell.shape, DecoderShape)
    shape = {"width": cell.shape.width, "depth": DEPTH, "heads": cell.shape.num_heads, "context": CONTEXT}
    shape["vocab"] = cell.shape.vocab_size
    plain = GPT(shape).to(device)
    model = torch.compile(plain)
    matrices, others = ([p for p in plain.parameters() if (p.dim() == 2) == is_matrix] for is_matrix in (True, False))
    groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": 0.1}, {"params": others}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    x, y = torch.zeros(2, cell.batch_sequences, CONTEXT, dtype=torch.long, device=device)

    def step() -> None:
        with autocast("cuda"):
            loss = model(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return count(step)


def prepare() -> torch.device:
    """The device, and a compiler whose kernels know the bytes that they move."""
    inductor.benchmark_kernel = True
    if STAND_IN:
        CachingAutotuner.bench = lambda self, *args, **kwargs: 1.0  # type: ignore[method-assign]  # nothing to time there
    return prepare_device("cuda:0")


def measure(cell: Cell, runs: int, device: torch.device) -> dict[str, Counts]:
    """A case, each way."""
    found = {"as it is": ours(cell, runs, device, False), "compiled": ours(cell, runs, device, True)}
    found["nanoGPT"] = nanogpt(cell, device)
    torch.compiler.reset()
    gc.collect()
    return found


def row(cell: Cell, runs: int, found: Mapping[str, Counts]) -> str:
    """A line of the table."""
    of_ways = {way: of_run(counts, 1 if way == "nanoGPT" else runs) for way, counts in found.items()}
    ratios = [mine / theirs for mine, theirs in zip(of_ways["compiled"], of_ways["nanoGPT"], strict=True)]
    columns = [format_count(num_params(cell.shape, "total")), str(runs)]
    columns += [f"{kernels:.0f}, {megabytes:.0f}, {ms:.2f}" for kernels, megabytes, ms in of_ways.values()]
    return f"| {' | '.join([*columns, ', '.join(f'{ratio:.2f}' for ratio in ratios)])} |"


def of_run(counts: Counts, runs: int) -> tuple[float, float, float]:
    """Kernels of all, megabytes and milliseconds of each."""
    return counts.kernels, counts.bytes / runs / 1e6, counts.seconds / runs * 1e3


def listing(found: Mapping[str, Counts]) -> str:
    """Every operation of every way, the most bytes first."""
    lines = []
    for way, counts in found.items():
        lines.append(f"{way}: calls, kernels, MB")
        for name, (calls, launched, moved) in sorted(counts.by_kernel.items(), key=lambda item: -item[1][2]):
            lines.append(f"  {calls:5.0f} {launched:5.0f} {moved / 1e6:9.2f}  {name}")
    return "\n".join(lines)


def main() -> None:
    """Print a row a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["64x1", "64x16", "256x1", "800x1"], help="WIDTHxRUNS ...")
    parser.add_argument("--vocabulary", type=int, default=256)
    parser.add_argument("--list", action="store_true", help="every operation with its calls, kernels and MB")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("bench_kernels: PyTorch sees no GPU here; tests/fakegpu/run.sh runs it on a stand-in.")
    device = prepare()
    print(f"torch {torch.__version__}, {'counted on the stand-in' if STAND_IN else torch.cuda.get_device_name(device)}")
    print("| N | runs | " + " | ".join(f"{way}: kernels, MB, ms" for way in WAYS) + " | compiled / nanoGPT |")
    print("|---" * (3 + len(WAYS)) + "|")
    for case in options.cases:
        width, runs = (int(part) for part in case.split("x"))
        cell = cell_of(width, options.vocabulary)
        found = measure(cell, runs, device)
        print(row(cell, runs, found), flush=True)
        if options.list:
            print(listing(found))


if __name__ == "__main__":
    main()
