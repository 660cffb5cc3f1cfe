"""One grid three ways, in turn: a plain nanoGPT-style loop, Hugging Face's Trainer, and scalesweep.

    python scripts/bench_sweep.py [override ...] [--quick] [--rounds 3] [--arms nanogpt trainer scalesweep]   # needs accelerate

Without overrides it is the grid of sweep=demo with one seed and context 32 (CPU), or sizes to ~100M on CUDA; overrides are
those of `scalesweep run`. Every arm trains the same widths, depths, batches, tokens and budgets on the same corpus and
evaluates on the same windows (those of the Trainer hold one target less). The baselines train every budget from scratch, one
after another, in one process with torch's own number of threads. scalesweep shares trunks and has a worker for each core or
GPU; its time ends with its last record, before fit and report. Time counts from the start of the process. Printed, as
medians over the rounds, with the range of what is a ratio:

    wall        seconds relative to scalesweep
    tokens/s    of the declared cells (sum of D) per second of wall time, relative to scalesweep
    executed    training FLOPs that were computed, relative to those declared: shared trunks are computed once
    ceiling     declared and executed FLOP/s as a share of the device's measured rate of large matrix products
    training    share of the device's (or all workers') time that is spent in training steps, not in start, evaluation, idling
    loss        mean over the cells, nats per token
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scalesweep.plan.plan import Plan, make_plan
from scalesweep.run.launch.device import resolve_device
from scalesweep.run.launch.local import num_workers
from scalesweep.run.store.store import Store
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.plan import CountSpec
from scalesweep.settings.settings import Settings
from scalesweep.sweep.corpora import facts_of_corpus
from scalesweep.train.data import prepare, validation_windows
from scalesweep.train.data.corpus import Corpus

CPU = ("sweep=demo", "model.context=32", "sweep.seeds=[0]")
CPU_QUICK = ("sweep=demo", "model.context=32", "sweep.seeds=[0]", "sweep.sizes=[14k,80k,462k]", "sweep.budgets=[64k,128k,256k]")
CUDA = (
    "sweep.name=bench",
    "recipe=gpu",
    "train=gpu",
    "data=python",
    "sweep.sizes=[200k,800k,3M,12M,50M,100M]",
    "sweep.budgets=[8M,16M,32M,64M]",
    "sweep.seeds=[0]",
    "model.context=256",
    "recipe.batch_exponent=0",
    "recipe.batch_tokens=16384",
    "train.validation_tokens=128k",  # of the 8 MB that data=python reads, a twentieth is held out
)
CUDA_QUICK = (*CUDA, "sweep.sizes=[200k,3M,50M]", "sweep.budgets=[4M,8M]")


@dataclass(frozen=True)
class Bench:
    """What all arms share."""

    overrides: tuple[str, ...]
    settings: Settings
    device: str
    corpus: Corpus
    plan: Plan

    @property
    def flops(self) -> float:
        """Declared training FLOPs, counted `attention`."""
        return sum(cell.flops(CountSpec()) for cell in self.plan.cells)

    @property
    def workers(self) -> int:
        """Workers of scalesweep."""
        return num_workers(self.settings, self.device)


def main() -> None:
    """Print a row an arm, and a row a size and arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    arms = ["nanogpt", "trainer", "scalesweep"]
    parser.add_argument("--arms", nargs="+", default=arms, choices=arms)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    bench = declare(options.overrides, options.quick)
    rounds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for i in range(1 if options.quick else options.rounds):
        peak = ceiling(bench.device)
        for arm in options.arms[:: 1 if i % 2 == 0 else -1]:
            found = scalesweep(bench) if arm == "scalesweep" else baseline(bench, arm)
            rounds[arm].append({**found, "peak": peak})
            sys.stderr.write(f"{arm}: {found['wall']:.1f} s, loss {statistics.mean(found['losses']):.4f}\n")
    say(bench, rounds)


def declare(overrides: Sequence[str], quick: bool) -> Bench:
    """The grid."""
    on_gpu = resolve_device(compose_settings([]).train) == "cuda"
    grids = {(False, False): CPU, (False, True): CPU_QUICK, (True, False): CUDA, (True, True): CUDA_QUICK}
    words = (*grids[on_gpu, quick], "logger=none", "fit.bootstrap=0", *overrides)
    settings = compose_settings(words)
    device, corpus = resolve_device(settings.train), prepare(settings.data)
    plan = make_plan(settings, facts_of_corpus(corpus, settings), device)
    return Bench(words, settings, device, corpus, plan)


def ceiling(device: str) -> float:
    """FLOP/s of large matrix products with everything that the device has."""
    size, dtype = (8192, "bfloat16") if device == "cuda" else (2048, "float32")
    code = (
        "import torch, time\n"
        f"a, b = (torch.randn({size}, {size}, device={device!r}, dtype=torch.{dtype}) for _ in range(2))\n"
        f"wait = torch.cuda.synchronize if {device == 'cuda'} else (lambda: None)\n"
        "times = []\n"
        "for _ in range(8):\n"
        "    wait(); t = time.perf_counter(); torch.mm(a, b); wait(); times.append(time.perf_counter() - t)\n"
        f"print(2 * {size} ** 3 / min(times))\n"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def scalesweep(bench: Bench) -> dict[str, Any]:
    """`scalesweep run`, until its last record."""
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        started = time.time()
        call([sys.executable, "-m", "scalesweep", "run", *bench.overrides, f"dir={home}/sweep"])
        store = Store(Path(home) / "sweep")
        records = {record["key"]: record for record in store.records()}
        assert len(records) == len(bench.plan.cells), "some cells have no record"
        wall = max(record["times"]["ended"] for record in records.values()) - started
        seconds = sum(record["times"]["training_seconds"] for record in records.values())
        losses = [records[cell.key]["loss"] for cell in bench.plan.cells]
        executed = bench.plan.shared_flops(CountSpec())
        return {"wall": wall, "busy": seconds / (bench.workers * wall), "losses": losses, "executed": executed}


def baseline(bench: Bench, name: str) -> dict[str, Any]:
    """A program of sweep_baselines.py."""
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        (Path(home) / "plan.json").write_text(json.dumps(work_of(bench, Path(home))))
        started = time.time()
        output = call([sys.executable, str(Path(__file__).with_name("sweep_baselines.py")), name, f"{home}/plan.json"])
        wall = time.time() - started
    results = json.loads(next(line for line in output.splitlines() if line.startswith("RESULTS ")).removeprefix("RESULTS "))
    busy = sum(result["seconds"] for result in results) / wall
    return {"wall": wall, "busy": busy, "losses": [result["loss"] for result in results], "executed": bench.flops}


def work_of(bench: Bench, home: Path) -> dict[str, Any]:
    """The cells and files as a baseline reads them."""
    first = bench.plan.cells[0]
    np.save(
        home / "validation.npy", validation_windows(bench.corpus.validation(), first.validation_tokens, first.shape.context)
    )
    train: Any = bench.corpus.train()
    cells = [
        {
            "width": cell.shape.width,
            "depth": cell.shape.depth,
            "heads": cell.shape.num_heads,  # type: ignore[union-attr] # presets are of the decoder
            "vocab": cell.shape.vocab_size,
            "context": cell.shape.context,
            "batch": cell.batch_sequences,
            "steps": cell.steps,
            "seed": cell.seed,
        }
        for cell in bench.plan.cells
    ]
    files = {"train": str(train.filename), "dtype": str(train.dtype), "validation": str(home / "validation.npy")}
    return {"cells": cells, "files": files, "device": bench.device}


def call(command: Sequence[str]) -> str:
    """What the command prints."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def say(bench: Bench, rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """The table in Markdown."""
    tokens, peak = (
        sum(cell.tokens for cell in bench.plan.cells),
        statistics.median(r["peak"] for r in next(iter(rounds.values()))),
    )
    sizes = sorted({cell.num_params(bench.plan.count) for cell in bench.plan.cells})
    print(
        f"{len(bench.plan.cells)} cells, N {sizes[0]:,} to {sizes[-1]:,}, {tokens:,} tokens, {bench.flops:.3g} FLOPs on "
        f"{bench.device}, {bench.workers} workers; large matrix products at {peak:.3g} FLOP/s\n"
    )
    print("| arm | wall | tokens/s | executed | ceiling, declared | ceiling, executed | training | loss |")
    print("|---|---|---|---|---|---|---|---|")
    reference = rounds.get("scalesweep") or next(iter(rounds.values()))
    for arm, found in rounds.items():
        walls = [one["wall"] / ours["wall"] for one, ours in zip(found, reference, strict=True)]
        executed = found[0]["executed"] / bench.flops
        declared = [bench.flops / one["wall"] / one["peak"] for one in found]
        wall = f"x {statistics.median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f})"
        rate = f"x {1 / statistics.median(walls):.2f}"
        share = statistics.median(declared)
        busy = statistics.median(one["busy"] for one in found)
        loss = statistics.mean(found[0]["losses"])
        print(f"| {arm} | {wall} | {rate} | {executed:.0%} | {share:.1%} | {share * executed:.1%} | {busy:.0%} | {loss:.3f} |")


if __name__ == "__main__":
    main()
