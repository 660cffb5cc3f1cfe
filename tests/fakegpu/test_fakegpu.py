"""What a person on a machine with GPUs meets, on the stand-in of README.md: the code that runs is that of a GPU."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scalesweep.run.store.store import Store

pytestmark = [pytest.mark.fakegpu, pytest.mark.slow]
HERE = Path(__file__).parent
SCRIPTS = HERE.parents[1] / "scripts"
LIBRARIES = ("libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcuda.so.1")
SWEEP = ("sweep=smoke", "logger=none", "fit.bootstrap=0", "sweep.sizes=[10k]", "sweep.budgets=[16k,64k]")


@functools.cache
def site_packages(python: str) -> Path | None:
    """Where this Python keeps torch of CUDA 13 and the headers; None where it has none."""
    code = "import importlib.util as u; print(u.find_spec('torch').origin)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    folder = Path(done.stdout.strip()).parents[1] if done.returncode == 0 else Path()
    wheels = folder / "nvidia" / "cu13"
    has_all = (wheels / "lib" / LIBRARIES[0]).exists() and (wheels / "include" / "crt").exists()
    return folder if has_all else None


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which a Python process meets the stand-in."""
    python = os.environ.get("SCALESWEEP_CUDA_PYTHON", sys.executable)
    packages = site_packages(python)
    if packages is None or shutil.which("g++") is None:
        pytest.skip(
            "the stand-in for a GPU needs g++, and torch of CUDA 13 with nvidia-cuda-crt and nvidia-cuda-cccl, in this "
            "environment or in that of SCALESWEEP_CUDA_PYTHON (tests/fakegpu/README.md)"
        )
    out, home = tmp_path_factory.mktemp("stand-in"), tmp_path_factory.mktemp("home")
    subprocess.run(["bash", str(HERE / "build.sh"), str(packages), str(out)], check=True)
    path = [str(HERE / "site"), str(HERE), str(HERE.parents[1] / "src")]
    variables = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return variables | {
        "PATH": f"{HERE / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "LD_PRELOAD": ":".join(str(out / name) for name in LIBRARIES),
        "PYTHONPATH": os.pathsep.join(path),
        "SCALESWEEP_CACHE": str(home / "cache"),
        "HOME": str(home),
        "FAKE_TIME": "1",
        "TRITON_LIBCUDA_PATH": str(out),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "STAND_IN_PYTHON": python,
    }


def run(stand_in: dict[str, str], *words: str, **switches: str) -> subprocess.CompletedProcess[str]:
    """One command of scalesweep on the stand-in."""
    return call(stand_in, "-P", "-m", "scalesweep", *words, **switches)


def call(stand_in: dict[str, str], *words: str, **switches: str) -> subprocess.CompletedProcess[str]:
    """Python on the stand-in."""
    command = [stand_in["STAND_IN_PYTHON"], *words]
    return subprocess.run(command, env=stand_in | switches, capture_output=True, text=True, timeout=300)


def made(stand_in: dict[str, str], directory: Path, *words: str, **switches: str) -> tuple[str, Store]:
    """What a small sweep says, and its directory, once it has a record of every cell."""
    done = run(stand_in, "run", *SWEEP, f"dir={directory}", *words, **switches)
    store = Store(directory)
    states = store.states()
    assert set(states.values()) <= {"COMPLETE", "DIVERGED"}, done.stdout + done.stderr  # numbers are garbage
    return done.stdout, store


def logs(store: Store) -> str:
    return "".join(path.read_text() for path in sorted((store.directory / "logs").glob("*.log")))


def test_a_healthy_gpu_takes_graphs_and_is_checked_once(stand_in: dict[str, str], tmp_path: Path) -> None:
    said, store = made(stand_in, tmp_path / "first")
    assert "cells to measure on cuda" in said
    assert "a captured step has the losses of the step as it is" in said
    assert "without" not in logs(store)  # a graph, the compiler
    assert re.search(r"attention by (flash|memory-efficient) \S+ ms forward and backward", logs(store))
    assert "not compiled, as it would not pay: " in logs(store)
    again, store = made(stand_in, tmp_path / "second", "train.compile=true")
    assert "Checking the GPUs" not in again
    assert "compiled in " in logs(store)


@pytest.mark.parametrize(
    ("switches", "reason"),
    [
        ({"FAKE_OLD_DRIVER": "1"}, "cannot use it: The NVIDIA driver on your system is too old (found version 12040)"),
        ({"FAKE_CC": "7.0", "FAKE_LAUNCH_ERR": "209"}, "CUDA error: no kernel image is available for execution on the device"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_no_cpu(
    stand_in: dict[str, str], tmp_path: Path, switches: dict[str, str], reason: str
) -> None:
    done = run(stand_in, "run", *SWEEP, f"dir={tmp_path / 'sweep'}", **switches)
    assert done.returncode == 2
    assert "train.device = 'auto': " in done.stderr
    assert reason in done.stderr
    assert "scripts/install.sh installs a build of torch that fits the driver" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("switches", "cause"),
    [
        ({"FAKE_BAD_DEV": "1"}, "CUDA error: uncorrectable ECC error encountered."),
        ({"FAKE_BUSY_DEV": "1", "FAKE_BUSY_GB": "78.7"}, "other processes hold 78.7 of its 79.0 GiB of memory."),
    ],
)
def test_of_two_gpus_the_one_that_can_be_used_trains(
    stand_in: dict[str, str], tmp_path: Path, switches: dict[str, str], cause: str
) -> None:
    said, store = made(stand_in, tmp_path / "sweep", FAKE_GPUS="2", **switches)
    assert said.count("cuda:1 (NVIDIA H100 80GB HBM3 (fake)) is set aside: ") == 1
    assert cause in said
    assert store.memory_limits() == {}


@pytest.fixture(scope="module")
def begun(stand_in: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of eight cells of which nothing is measured."""
    _, store = made(stand_in, tmp_path_factory.mktemp("begun") / "sweep", "sweep.seeds=[0,1,2,3]", "train.pack=1")
    for path in (*store.directory.glob("cells/*/*"), *store.directory.glob("logs/*")):
        path.unlink()
    return store.directory


def test_a_gpu_that_breaks_on_the_way_is_set_aside(stand_in: dict[str, str], begun: Path, tmp_path: Path) -> None:
    store = Store(shutil.copytree(begun, tmp_path / "sweep"))
    words = ("worker", str(store.directory), "--device", "cuda", "--workers", "auto")
    slow = {"FAKE_BASE_NS": "100000"}  # so that the good GPU does not end before the other one has failed twice
    done = run(stand_in, *words, FAKE_GPUS="2", STAND_IN_BREAKS="1", **slow)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("cuda:1 is set aside: it failed 2 times without progress") == 1
    assert "last: CUDA error: an illegal memory access was encountered" in done.stdout
    assert set(store.states().values()) <= {"COMPLETE", "DIVERGED"}
    assert not any('"state": "lost"' in path.read_text() for path in store.directory.glob("cells/*/claim-*"))


TOGETHER = """
import sys
from pathlib import Path
from scalesweep.run.launch import launch
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.store.store import Store

store = Store(Path(sys.argv[1]))
plan, settings = store.plan_file.plan(), store.plan_file.settings()
settings = settings.model_copy(update={"train": settings.train.model_copy(update={"devices": 2})})
launch(store, settings, "cuda", Monitor(store, plan, sys.stdout), [plan.longest_first[0].key])
"""


@pytest.mark.parametrize(("switches", "devices"), [({"STAND_IN_GLOO": "1"}, 2), ({}, 1)])
def test_a_cell_that_would_be_the_tail_is_trained_by_both_gpus_or_if_they_cannot_by_one(
    stand_in: dict[str, str], begun: Path, tmp_path: Path, switches: dict[str, str], devices: int
) -> None:
    """NCCL does not start on the stand-in, gloo does."""
    store = Store(shutil.copytree(begun, tmp_path / "sweep"))
    first, *others = store.plan_file.plan().longest_first
    done = call(stand_in, "-c", TOGETHER, str(store.directory), FAKE_GPUS="2", **switches)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {cell.key: store.record(cell.key) for cell in (first, *others)}
    assert [record and record["times"]["devices"] for record in found.values()] == [devices, *[1] * len(others)]
    aside = f"cuda:0 + cuda:1 is set aside: it failed 2 times without progress, with cell {first.key}, last: "
    said = [line.removeprefix(aside) for line in done.stdout.splitlines() if line.startswith(aside)]
    assert ["NCCL error" in line for line in said] == [True] * (2 - devices)
    assert (f"{first.key} begins on 2 devices together\n" in logs(store)) and "hung" not in logs(store)
    assert ("without a CUDA graph, which is slower (several GPUs train it together)" in logs(store)) == (devices == 2)


def test_without_a_gpu_that_works_the_sweep_ends_with_a_sentence(stand_in: dict[str, str], tmp_path: Path) -> None:
    done = run(stand_in, "run", *SWEEP, f"dir={tmp_path / 'sweep'}", STAND_IN_BREAKS="0")
    assert done.returncode == 69
    assert "no GPU of this machine is left to train on (cuda:0: CUDA error: an illegal memory access" in done.stderr
    assert set(Store(tmp_path / "sweep").states().values()) == {"WAITING"}


def test_check_device_tells_good_gpus_from_broken_ones(stand_in: dict[str, str]) -> None:
    done = run(stand_in, "check", "device", "full=true", "--json", FAKE_GPUS="2", FAKE_BAD_DEV="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["driver"], found["driver_cuda"]) == ("580.65.06", "13.0")
    good, bad = found["gpus"]
    assert (good["trouble"], bad["trouble"]) == ("", "CUDA error: uncorrectable ECC error encountered")
    *steps, compiled = good["found"]["steps"]
    assert [(step["size"], step["runs"]) for step in steps] == [("200k", 1), ("3M", 1), ("30M", 1), ("200k", 16)]
    assert all(step["tokens_per_second"] > 0 and not step["notes"] for step in steps)
    (note,) = compiled["notes"]
    assert note.startswith("compiled in ")
    (row,) = [line for line in done.stderr.splitlines() if line.startswith("    30M, compiled  ")]
    assert row.endswith(f"%  {note}")
    assert found["verdict"] == "A sweep trains on cuda:0 here."


def test_a_card_without_bfloat16_trains_in_float32(stand_in: dict[str, str], tmp_path: Path) -> None:
    switches = {"FAKE_CC": "7.5", "FAKE_NAME": "Tesla T4", "FAKE_MEM_GB": "15"}
    done = run(stand_in, "run", *SWEEP, f"dir={tmp_path / 'sweep'}", **switches)
    assert "cuda:0 (Tesla T4, compute capability 7.5) has no bfloat16 in" in done.stderr
    records = list(Store(tmp_path / "sweep").records())
    assert {record["cell"]["precision"] for record in records} == {"float32"}


FAILED_END = """
import sys
from pathlib import Path
import torch
from counters import library
from scalesweep.run.worker import main

library().fake_fail(0, 1)
sys.exit(main([sys.argv[1], "--device", "cuda:0"]))
"""


def test_a_capture_whose_end_fails_ends_the_worker_after_its_cell(
    stand_in: dict[str, str], begun: Path, tmp_path: Path
) -> None:
    """The numbers of the first torch that mends its allocator are in `capture.MENDED_TORCH`."""
    store = Store(shutil.copytree(begun, tmp_path / "sweep"))
    done = call(stand_in, "-c", FAILED_END, str(store.directory))
    assert done.returncode == 75, done.stdout + done.stderr
    assert "without a CUDA graph, which is slower (CUDA error: operation failed due to a previous error" in done.stdout
    assert len(list(store.records())) == 1, done.stdout


COUNTED = """
import dataclasses, json
import numpy as np
import torch
import counters
from scalesweep.settings.plan import ArchitectureSpec
from scalesweep.sweep.checkup import cells_of_check
from scalesweep.train import resident
from scalesweep.train.capture import is_crippled
from scalesweep.train.device import prepare_device
from scalesweep.train.gradient import Execution
from scalesweep.train.model.architecture import scaled_shape
from scalesweep.train.model.module import build_model
from scalesweep.train.optim import make_optimizer
from scalesweep.train.optim.custom import OwnOptimizer
from scalesweep.train.optim.groups import group_settings
from scalesweep.train.stepper import make_stepper

device, cell = prepare_device("cuda:0"), cells_of_check("bfloat16")["200k"]
tokens = np.random.default_rng(0).integers(0, 4096, 10**6)
qwen = scaled_shape(ArchitectureSpec(architecture="Qwen3", context=cell.shape.context), 64, 2, 32, 4096)
muon = {"optimizer": "muon", "momentum": 0.9}

def counted(runs, spoil=None, optimizer_of=make_optimizer, **changes):
    notes, cells = [], [dataclasses.replace(cell, seed=seed, **changes) for seed in range(runs)]
    model = build_model(cells).to(device)
    if spoil:
        model.layers[0].register_forward_hook(lambda layer, given, stream: spoil(stream))
    counters.reset()
    execution = Execution(device, compiles=False)
    stepper = make_stepper(model, optimizer_of(model, cells), cells, tokens, execution, 0, notes.append)
    forbidden = {name: value for name, value in counters.report().items() if "forbidden" in name or "invalid" in name}
    counters.reset()
    for step in range(10):
        stepper.advance(step)
    return notes, forbidden, counters.report()

def waiting(stream):
    return stream * 2 if stream.sum().item() == 1.0 else stream

def own(model, cells):
    return OwnOptimizer(model, torch.optim.SGD, {}, group_settings(cell), (0.9, 0.95), 1.0)

apart = {"waits": counted(1, waiting), "own": counted(1, optimizer_of=own), "is crippled": is_crippled()}
print(json.dumps(apart))
print(json.dumps({
    "1": counted(1),
    "16": counted(16),
    "muon": counted(1, **muon),
    "4, muon, z_loss": counted(4, z_loss=1e-4, **muon),
    "z_loss": counted(1, z_loss=1e-4),
    "transformers": counted(1, shape=qwen),
    "corpus on the host": (setattr(resident, "fits", lambda *_: False), counted(2))[1],
}))
"""


def test_a_captured_step_is_one_launch(stand_in: dict[str, str]) -> None:
    done = call(stand_in, "-c", COUNTED)
    assert done.returncode == 0, done.stderr
    apart, alike = map(json.loads, done.stdout.splitlines()[-2:])
    notes, forbidden, counts = apart["waits"]
    assert notes == ["without a CUDA graph, which is slower (called a synchronizing CUDA operation)"]
    assert (forbidden, counts.get("graph_launches", 0), apart["is crippled"]) == ({}, 0, False)
    notes, forbidden, counts = apart["own"]
    assert notes == ["its optimizer without a CUDA graph, which is slower (a class of your own is stepped from the host)"]
    assert (forbidden, counts["graph_launches"], counts.get("launched_gemm", 0)) == ({}, 10, 0)
    for what, (notes, forbidden, counts) in alike.items():
        assert (what, notes, forbidden, counts["graph_launches"]) == (what, [], {}, 10)
        launched = {name: n for name, n in counts.items() if name.startswith(("launched_", "copy_", "sync_by"))}
        assert (what, launched) == (what, {})


BESIDE_NANOGPT = """
import json, sys
sys.path.append(sys.argv[1])
import bench_kernels as bench

found = bench.measure(bench.cell_of(64, 256), 1, bench.prepare())
print(json.dumps({way: [counts.kernels, counts.bytes] for way, counts in found.items()}))
"""


def test_a_compiled_step_is_no_more_than_that_of_nanogpt(stand_in: dict[str, str], tmp_path: Path) -> None:
    """Counted at 228k parameters; docs/performance.md has the table."""
    done = call(stand_in, "-c", BESIDE_NANOGPT, str(SCRIPTS), TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    (kernels, moved), (their_kernels, their_moved) = found["compiled"], found["nanoGPT"]
    assert kernels <= 1.1 * their_kernels
    assert moved <= 1.2 * their_moved
    assert found["as it is"][0] <= 1.9 * their_kernels


COMPILED = """
import dataclasses, json, sys
import numpy as np
import counters
from scalesweep.sweep.checkup import cells_of_check
from scalesweep.train.device import prepare_device
from scalesweep.train.gradient import Execution
from scalesweep.train.model.module import build_model
from scalesweep.train.optim import make_optimizer
from scalesweep.train.stepper import make_stepper

device, tokens = prepare_device("cuda:0"), np.random.default_rng(0).integers(0, 4096, 10**6)
for runs, steps, sequences, micro_batch, compiles in json.loads(sys.argv[1]):
    cell = dataclasses.replace(cells_of_check("bfloat16")["200k"], steps=steps, batch_sequences=sequences)
    cells, notes = [dataclasses.replace(cell, seed=seed) for seed in range(runs)], []
    model = build_model(cells).to(device)
    execution = Execution(device, micro_batch, compiles=compiles)
    stepper = make_stepper(model, make_optimizer(model, cells), cells, tokens, execution, 0, notes.append)
    counters.reset()
    stepper.advance(0)
    from torch._dynamo.utils import counters as compiler
    graphs, hits = compiler["stats"]["unique_graphs"], compiler["inductor"]["fxgraph_cache_hit"]
    print(json.dumps([type(stepper).__name__, *notes, graphs, hits, counters.report()["graph_nodes_launched"]]))
"""
LONG, SHORT = 10**7, 100


def compiled(stand_in: dict[str, str], *trainings: list[Any]) -> list[list[Any]]:
    """Of each training: the stepper, notes, graphs compiled so far, how many parts of them the cache held, kernels."""
    done = call(stand_in, "-c", COMPILED, json.dumps(trainings))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_long_training_is_compiled_for_every_batch_and_process(stand_in: dict[str, str], tmp_path: Path) -> None:
    cache = stand_in | {"SCALESWEEP_CACHE": str(tmp_path), "HOME": "/proc/none"}  # as of a user without one
    short, long, batch, parts, never, pack = compiled(
        cache,
        [1, SHORT, 32, None, "auto"],
        [1, LONG, 32, None, "auto"],
        [1, LONG, 48, None, "auto"],
        [1, LONG, 48, 20, "auto"],
        [1, LONG, 32, None, False],
        [4, LONG, 32, None, "auto"],
    )
    assert {found[0] for found in (short, long, batch, parts, never, pack)} == {"ResidentStepper"}
    assert short[1].startswith("not compiled, as it would not pay: 100 steps of ")
    assert long[1].startswith("compiled in ")
    assert "at 0.57 of the time (modelled), for 40 s of compiling (estimated)" in long[1]
    assert "(the code is loaded)" in batch[1]
    assert "(the code is loaded)" in parts[1]
    assert pack[1].startswith("compiled in ")
    assert "of compiling (as other kinds took here)" in pack[1]
    assert [found[-3] for found in (short, long, batch, parts, never, pack)] == [0, 2, 2, 2, 2, 6]  # layers, readout, updates
    assert never[1:] == [2, 0, short[-1]]  # no note
    assert long[-1] < 0.7 * short[-1]
    (again,) = compiled(cache, [1, LONG, 64, None, "auto"])
    assert again[1].startswith("compiled earlier, and ready in ")
    assert "of compiling (estimated, the code is kept)" in again[1]
    assert again[-3:] == [2, 4, long[-1]]  # of the forward and of the backward passes


ATTENDED = """
import json
import counters
from scalesweep.sweep.checkup import cells_of_check
from scalesweep.train import attention
from scalesweep.train.device import prepare_device
from scalesweep.train.gradient import Execution

device, cell, notes, found = prepare_device("cuda:0"), cells_of_check("bfloat16")["200k"], [], []
for _ in range(2):
    attention._chosen.clear()  # as in another process
    counters.reset()
    with attention.preferred_attention([cell, cell], Execution(device, 4), notes.append):
        inside = attention.enabled()
    found.append([inside, attention.enabled(), bool(counters.report().get("launched_kernel"))])
print(json.dumps([notes, found]))
"""


def test_the_fastest_attention_is_found_once_and_kept(stand_in: dict[str, str], tmp_path: Path) -> None:
    done = call(stand_in, "-c", ATTENDED, SCALESWEEP_CACHE=str(tmp_path))
    assert done.returncode == 0, done.stderr
    notes, ((inside, after, measured), again) = json.loads(done.stdout.splitlines()[-1])
    assert (len(set(notes)), len(notes), measured) == (1, 2, True)
    assert after == ["flash", "memory-efficient"]  # cuDNN is switched off there
    assert notes[0].split()[2] == inside[0]
    assert again == [inside, after, False]


def test_a_price_is_of_the_first_gpu_that_can_be_used(stand_in: dict[str, str], tmp_path: Path) -> None:
    """Nothing fits on cuda:0; a launcher without processes of its own goes elsewhere too."""
    switches = {"FAKE_GPUS": "2", "FAKE_BUSY_DEV": "0", "FAKE_BUSY_GB": "78.7"}
    done = run(stand_in, "plan", *SWEEP, f"dir={tmp_path / 'sweep'}", "cost.remeasure=true", **switches)
    assert done.returncode == 0, done.stderr
    assert "1 measured now, 0 known" in done.stdout
    made(stand_in, tmp_path / "sweep", "launcher=inline", **switches)


SHOWN = """
import sys
from scalesweep.run.launch import monitor

monitor.LOOK_SECONDS = monitor.QUIET_SECONDS = 0.1
from scalesweep.cli import main

sys.exit(main())
"""


def test_seeds_go_in_even_packs_to_two_gpus_whose_speed_is_shown(stand_in: dict[str, str], tmp_path: Path) -> None:
    words = ("run", *SWEEP, "sweep.seeds=[0,1,2,3,4,5]", "sweep.budgets=[64k]", f"dir={tmp_path / 'sweep'}")
    done = call(stand_in, "-c", SHOWN, *words, FAKE_GPUS="2", FAKE_BASE_NS="100000")
    store = Store(tmp_path / "sweep")
    assert [record["times"]["pack"] for record in store.records()] == [3] * 6, done.stdout + done.stderr + logs(store)
    assert "tried" not in logs(store)  # a training of a second pays for no trial
    lines = [line for line in done.stdout.splitlines() if "% of the FLOPs, " in line]
    assert any(" tokens/s, " in line and line.endswith("% of the ceiling") for line in lines), done.stdout


SIZED = """
import dataclasses, sys
from pathlib import Path
from scalesweep.run.packing import PackLimits
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import with_values
from scalesweep.train.device import prepare_device

store = Store(Path(sys.argv[1]))
settings = with_values(store.plan_file.settings(), {"train.pack": "auto"})
cell = dataclasses.replace(store.plan_file.plan().longest_first[0], steps=int(sys.argv[2]))
limits = PackLimits(store, settings, prepare_device("cuda:0"), 1, say=print)
for _ in range(2):
    print(limits.of(cell, 64, [cell]))
"""


@pytest.mark.parametrize(
    ("gigabytes", "steps", "trials", "sizes"),
    [("79", "10000000", 2, range(2, 65)), ("79", "1000", 0, [64]), ("0.25", "1000", 0, [32])],
)
def test_packs_are_as_large_as_memory_and_trials_say(
    stand_in: dict[str, str], begun: Path, tmp_path: Path, gigabytes: str, steps: str, trials: int, sizes: Sequence[int]
) -> None:
    """Of 64 runs each takes 5 MiB by the formula: with a quarter of a GiB there are two packs of 32."""
    store = Store(shutil.copytree(begun, tmp_path / "sweep"))
    done = call(stand_in, "-c", SIZED, str(store.directory), steps, FAKE_MEM_GB=gigabytes)
    assert done.returncode == 0, done.stderr
    *tried, first, second = done.stdout.splitlines()
    assert [line.split(" of ")[0] for line in tried] == ["tried one run", "tried 64 runs"][:trials]
    assert first == second  # by the table
    assert int(first) in sizes
