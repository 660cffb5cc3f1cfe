"""What shared trunks save and cost: a grid of five budgets with and without them, and against cosine runs of the same length.

    python scripts/bench_branches.py [--width 32] [--longest 2400] [--seeds 0 1]

Three arms are trained in turn by one worker in this process, in directories that are thrown away: wsd cells in one sweep
(shared trunks), each wsd cell in a sweep of its own (dedicated), and cosine cells, which share nothing.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from scalesweep.plan.plan import Plan, make_plan
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.settings import Settings
from scalesweep.sweep.corpora import corpus_facts, facts_of_corpus
from scalesweep.train.data import prepare
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device

BATCH = 512
RATIO = 2**0.5


def main() -> None:
    """Print FLOPs and times of the arms, and the losses of every cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--longest", type=int, default=2400, help="steps of the largest budget; the others are 1/sqrt(2) apart")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    budgets = [round(options.longest / RATIO**i) * BATCH for i in reversed(range(5))]
    words = ["data=python_small", "logger=none", "launcher=inline", "model.context=32", f"recipe.batch_tokens={BATCH}"]
    words += [f"sweep.sizes=[{{width: {options.width}, depth: 2}}]", f"sweep.seeds={options.seeds}", "train.device=cpu"]
    base = compose_settings(words)
    corpus = prepare(base.data)
    facts = facts_of_corpus(corpus, base)
    arms = {"shared": [budgets], "dedicated": [[b] for b in budgets], "cosine": [budgets]}
    losses: dict[str, dict[tuple[int, int], float]] = {}
    print("| arm | training FLOPs | CPU seconds | wall seconds |\n|---|---|---|---|")
    for arm, grids in arms.items():
        losses[arm], flops, wall, cpu = {}, 0.0, 0.0, 0.0
        for grid in grids:
            settings = compose_settings(
                [*words, f"sweep.budgets={grid}", f"train.schedule={'cosine' if arm == 'cosine' else 'wsd'}"]
            )
            plan = make_plan(settings, facts, "cpu")
            started = time.monotonic(), time.process_time()
            losses[arm] |= measure(settings, plan, corpus)
            wall, cpu = wall + time.monotonic() - started[0], cpu + time.process_time() - started[1]
            flops += plan.shared_flops(plan.count)
        print(f"| {arm} | {flops:.3g} | {cpu:.0f} | {wall:.0f} |", flush=True)
    print("\n| D | seed | shared | dedicated | shared - dedicated | cosine | wsd - cosine |\n|---|---|---|---|---|---|---|")
    for d, seed in losses["shared"]:
        shared, alone, cosine = (losses[arm][d, seed] for arm in arms)
        print(f"| {d:,} | {seed} | {shared:.4f} | {alone:.4f} | {shared - alone:g} | {cosine:.4f} | {shared - cosine:+.4f} |")
    gaps = [losses["shared"][point] - losses["cosine"][point] for point in losses["shared"]]
    print(f"\nwsd - cosine: mean {statistics.mean(gaps):+.4f}, standard deviation {statistics.stdev(gaps):.4f} nats per token")
    if len(options.seeds) > 1:
        pairs = [[losses["dedicated"][d, s] for s in options.seeds] for d in sorted({d for d, _ in losses["dedicated"]})]
        noise = statistics.mean(statistics.variance(pair) for pair in pairs) ** 0.5
        print(f"standard deviation between seeds: {noise:.4f} nats per token")


def measure(settings: Settings, plan: Plan, corpus: Corpus) -> dict[tuple[int, int], float]:
    """Loss of every cell by its tokens and seed."""
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory) / "sweep")
        store.plan_file.create(plan, settings.model_dump(mode="json"), corpus_facts(corpus))
        work(store, prepare_device("cpu"), lambda: False)
        return {(r["row"]["d"], r["row"]["seed"]): r["loss"] for r in store.records()}


if __name__ == "__main__":
    main()
