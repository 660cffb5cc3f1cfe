"""Whole commands on a GPU, each in processes of its own: the second half of scripts/accept_gpu.sh.

    python scripts/accept/sweeps.py OUT [--seconds 300] [--device cuda]

The tests marked gpu; a sweep in packs with its report; a worker that is killed in the middle, whose cell goes on from its
checkpoint; and the same grid by a nanoGPT loop and by scalesweep. As in gpu.py every line says what it decides, and
`--device cpu` rehearses with tiny grids. Exit code 1 after a FAULT.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from parts import Acceptance, run

from scalesweep.run.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ("sweep=smoke", "logger=none", "fit.bootstrap=0")
LAST_LINES = 6
"""Of a command's output, that are shown of one that failed."""
SECONDS = {"tests": 60.0, "smoke": 120.0, "kill": 75.0, "nanogpt": 240.0}
"""Each section's share of the time at most."""
PATIENCE = 5.0
"""Times as long in a rehearsal, for which nobody waits in front of a rented GPU."""


def main() -> int:
    """Run the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="directory of the findings; what the sweeps wrote is kept there")
    parser.add_argument("--seconds", type=float, default=300, help="time to take at most (default: 300)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu is a rehearsal (default: cuda)")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("accept: PyTorch sees no GPU here, so there is nothing to accept; --device cpu rehearses.", file=sys.stderr)
        return 2
    if (options.out / "kill").exists() or (options.out / "smoke").exists():
        print(f"accept: {options.out} holds an earlier acceptance; give another directory.", file=sys.stderr)
        return 2
    found = Acceptance(torch.device(options.device), options.seconds)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, section in SECTIONS.items():
        found.say("FIGURE", f"section {name}")
        run(lambda found, section=section: section(found, options.out), found, name)  # type: ignore[misc]
        (options.out / "sweeps.json").write_text(json.dumps(found.lines, indent=1) + "\n")
    return found.end()


def tests(found: Acceptance, out: Path) -> None:
    """The tests that need a GPU; in a rehearsal they are only found."""
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "-m", "gpu", str(ROOT / "tests" / "train")]
    done = command(found, "tests", [*words, *(["--collect-only"] if found.is_rehearsal else [])])
    said = done.stdout.strip().splitlines()[-1:] or ["nothing"]
    found.judge(
        done.returncode == 0,
        f"tests marked gpu: {said[0]}",
        "what the tests hold on a GPU holds on this one",
        "a test that holds elsewhere fails here: its name is above; report it with accept.log",
    )


def smoke(found: Acceptance, out: Path) -> None:
    """A small sweep from plan to report, its seeds in packs."""
    place = out / "smoke"
    budgets = "[2048,4096,8192]" if found.is_rehearsal else "[16k,32k,64k]"
    grid = ["sweep.sizes=[10k,40k,100k]", f"sweep.budgets={budgets}", "sweep.seeds=[0,1,2]"]
    on_cpu = ["train.pack=3", "launcher.workers=1", "train.validation_tokens=2048"] if found.is_rehearsal else []
    done = command(found, "smoke", [*scalesweep("run", found), *grid, *on_cpu, f"dir={place}"])
    records = Store(place).records() if (place / "sweep.json").is_file() else []
    complete = sum(record["state"] == "COMPLETE" for record in records)
    packed = max((record["times"]["pack"] for record in records), default=0)
    has_report = (place / "report.html").is_file()
    found.judge(
        done.returncode == 0 and complete == 27 and packed > 1 and has_report,
        f"a sweep of 27 cells: exit code {done.returncode}, {complete} complete, the largest pack {packed}, "
        f"{'a' if has_report else 'no'} report",
        "a sweep can be started on this machine",
        f"start no long sweep: look into {place}/logs; where there was no pack, train.pack=N asks for one",
    )
    for line in notes(place):
        found.say("FIGURE", line, "each such note is a slower way, or memory that ran out")


def kill(found: Acceptance, out: Path) -> None:
    """A worker is killed after its first checkpoint; another goes on from there."""
    place = out / "kill"
    grid = ["sweep.sizes=[100k]", "sweep.budgets=[60M]", "train.checkpoint_seconds=1", f"dir={place}"]
    with (out / "kill.log").open("w") as log:
        started = subprocess.Popen([sys.executable, *scalesweep("run", found), *grid], stdout=log, stderr=log, cwd=ROOT)
    try:
        store, end = Store(place), time.monotonic() + seconds_for(found, "kill")
        has_checkpoint = wait_for(end, lambda: any(place.glob("cells/*/checkpoint*")))
        key = next(iter(store.plan_file.keys()), "") if has_checkpoint else ""
        holder = store.claims.holder(key) if key else None
        if holder is not None:
            os.kill(holder, signal.SIGKILL)
        goes_on = holder is not None and wait_for(end, lambda: "goes on after step" in logs(place))
    finally:
        started.send_signal(signal.SIGINT)
        try:
            code = started.wait(timeout=60)
        except subprocess.TimeoutExpired:
            started.kill()
            code = started.wait()
    steps = re.findall(r"goes on after step (\d+)", logs(place))
    found.judge(
        goes_on,
        f"checkpoint {'written' if has_checkpoint else 'missing'}, worker {'killed' if holder else 'not found'}, "
        f"its cell {f'went on after step {steps[0]}' if steps else 'did not go on'}; Ctrl-C then gave exit code {code}",
        "a long sweep may be interrupted, and loses the time since its last checkpoint",
        f"a crash may cost whole cells: look into {place}/logs before a long sweep",
    )


def nanogpt(found: Acceptance, out: Path) -> None:
    """The same grid by a nanoGPT loop, compiled on a GPU, and by scalesweep."""
    tiny = ["sweep.sizes=[14k,42k]", "sweep.budgets=[32k,64k]", "train.validation_tokens=8192"]
    grid = ["sweep.sizes=[200k,3M,50M]", "sweep.budgets=[4M]", "train.validation_tokens=131072"]
    grid = [*(tiny if found.is_rehearsal else grid), f"train.device={found.device.type}"]
    words = [*grid, "--quick", "--rounds", "1", "--arms", "nanogpt", "scalesweep"]
    done = command(found, "nanogpt", [str(ROOT / "scripts" / "bench_sweep.py"), *words])
    (out / "nanogpt.log").write_text(done.stdout)
    print(done.stdout, flush=True)
    found.judge(
        done.returncode == 0,
        f"nanoGPT beside scalesweep: exit code {done.returncode}, the tables above",
        "whether a sweep by this program is worth it here: wall of nanogpt above 1 says how many times longer it takes",
        "the comparison did not come to its end, so that nothing is known of it",
    )


SECTIONS: dict[str, Callable[[Acceptance, Path], None]] = {"tests": tests, "smoke": smoke, "kill": kill, "nanogpt": nanogpt}


def scalesweep(name: str, found: Acceptance) -> list[str]:
    """The words of a command of scalesweep."""
    return ["-m", "scalesweep", name, *SMOKE, f"train.device={found.device.type}"]


def command(found: Acceptance, name: str, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run Python with these words, for as long as the section may take; show the end of what a failed one said."""
    seconds = seconds_for(found, name)
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        said, complained = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with what it started, which would keep the GPU
        said, complained = process.communicate()
        complained += f"stopped after {seconds:.0f} s"
    if process.returncode:
        print("\n".join([*said.splitlines()[-LAST_LINES:], *complained.splitlines()[-LAST_LINES:]]), flush=True)
    return subprocess.CompletedProcess(words, process.returncode, said, complained)


def seconds_for(found: Acceptance, name: str) -> float:
    """How long a section may take."""
    return max(1.0, min(found.left, SECONDS[name] * (PATIENCE if found.is_rehearsal else 1.0)))


def wait_for(end: float, is_so: Callable[[], bool]) -> bool:
    """Whether it came to be so before the end."""
    while not (found := is_so()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def logs(place: Path) -> str:
    """What the workers of a sweep logged."""
    return "\n".join(file.read_text(errors="replace") for file in sorted(place.glob("logs/*.log")))


def notes(place: Path) -> list[str]:
    """Lines of the workers' logs on slower ways and on memory that ran out."""
    words = ("which is slower", "not fit into the memory", "FAILED")
    return [line[:160] for line in logs(place).splitlines() if any(word in line for word in words)]


if __name__ == "__main__":
    sys.exit(main())
