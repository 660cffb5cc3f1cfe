"""Faults on purpose: kill, damage and race a real sweep, and compare what it measured with an undisturbed one, bit for bit.

    python scripts/fault_campaign.py [--kills 200] [--racers 12] [--trivial 300] [--damages 60] [--seed 0]

Workers kill themselves by SIGKILL at a point that each draws when it starts (`SCALESWEEP_KILL_*`): in the middle of writing a
claim, curve, checkpoint, trunk state or record, right after it is in its place, or at a random time in training. Meanwhile the
controller, or the controller and all workers at once, are killed at random times. It trains on one CPU core a worker. The exit
code is 0 if every cell has one record and all equal the undisturbed sweep's.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalesweep.errors import StoreError
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings, parse_settings

KINDS = ("claim", "curve", "checkpoint", "snapshot", "record")
POINTS = ("step", *(f"{kind}-{when}" for kind in KINDS for when in ("mid", "after")))
SUICIDE = """
import os, sys
if '-m scalesweep.run ' in ' '.join(sys.orig_argv) and 'SCALESWEEP_KILL_LOG' in os.environ:
    import random, re, signal, threading
    log, most = os.environ['SCALESWEEP_KILL_LOG'], int(os.environ['SCALESWEEP_KILL_MOST'])
    point = random.choice(os.environ['SCALESWEEP_KILL_POINTS'].split(','))
    left = random.randint(1, 3 if point.partition('-')[0] in ('claim', 'curve') else 1)
    def kind(path):
        name = re.sub(r'^\\.|\\.[0-9a-f]{32}$', '', os.path.basename(os.fspath(path)))
        return 'snapshot' if name[0].isdigit() else re.split(r'[-.]', name)[0]
    def die():
        if os.path.exists(log) and os.path.getsize(log) and sum(1 for _ in open(log)) >= most:
            return
        file = os.open(log, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(file, (point + chr(10)).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    def reached(path, when):
        global left
        if point == kind(path) + '-' + when:
            left -= 1
            if left == 0:
                die()
        elif point == 'step' and kind(path) == 'claim' and when == 'after' and left:
            left = 0
            threading.Timer(random.expovariate(1.0), die).start()
    def wrapped(function, path_of, when, first):
        def call(*arguments, **named):
            if first:
                reached(path_of(arguments), when)
            result = function(*arguments, **named)
            if not first:
                reached(path_of(arguments), when)
            return result
        return call
    os.fsync = wrapped(os.fsync, lambda a: os.readlink(f'/proc/self/fd/{a[0]}'), 'mid', True)
    os.link = wrapped(os.link, lambda a: a[1], 'after', False)
    os.replace = wrapped(os.replace, lambda a: a[1], 'after', False)
"""


@dataclass
class Report:
    """Rows of the table that is printed, and what differed."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, what: str, done: str, stores: Sequence[Store], quiet: Store) -> None:
        """Compare sweeps with the undisturbed one."""
        expected, cells = measured(quiet), 0
        for store in stores:
            found = measured(store)
            self.wrong += [f"{what}: {store.directory}: {key}" for key in expected if found.get(key) != expected[key]]
            cells += len(found)
        differ = sum(line.startswith(f"{what}:") for line in self.wrong)
        self.row(what, done, f"{cells} records of {len(stores)} sweep{'s' * (len(stores) > 1)}, {differ} differ")

    def row(self, *row: str) -> None:
        """Add a row, and show it at once."""
        self.rows.append((row[0], row[1], row[2]))
        sys.stderr.write(" | ".join(row) + "\n")


@dataclass(frozen=True)
class Campaign:
    """What all parts share."""

    home: Path
    settings: Settings
    rng: random.Random

    def store(self, name: str) -> Store:
        """A new sweep of the settings."""
        return new_store(self.home / name, self.settings)


def main() -> int:
    """Run all parts and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--racers", type=int, default=12)
    parser.add_argument("--trivial", type=int, default=300)
    parser.add_argument("--damages", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--controller", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.controller:
        return control(Store(options.controller))
    with tempfile.TemporaryDirectory(prefix="faults-") as home:
        campaign = Campaign(Path(home), tiny_settings(Path(home)), random.Random(options.seed))
        report = run_campaign(campaign, options)
    print("| fault | done to it | outcome |\n|---|---|---|")
    for row in report.rows:
        print(f"| {' | '.join(row)} |")
    for line in report.wrong:
        print(f"WRONG {line}")
    return 1 if report.wrong else 0


def run_campaign(campaign: Campaign, options: argparse.Namespace) -> Report:
    """All parts, one after another."""
    report, quiet = Report(), campaign.store("quiet")
    started = time.monotonic()
    finish(quiet)
    report.row("none", f"{time.monotonic() - started:.0f} s", f"{len(measured(quiet))} records")
    kill_until(campaign, options.kills, quiet, report)
    damage_finished(campaign, options.damages // 2, quiet, report)
    damage_unfinished(campaign, options.damages - options.damages // 2, quiet, report)
    two_controllers(campaign, quiet, report)
    race(campaign, options.racers, options.trivial, report)
    return report


def tiny_settings(home: Path, sweep: str = "", **changes: Any) -> Settings:
    """Some cells of a second of training each, three of a trunk, written with many checkpoints."""
    from scalesweep.settings.compose import compose_values

    words = ["data=markov", "data.max_tokens=200k", f"data.cache={home / 'corpus'}", "logger=none", "launcher.workers=3"]
    words += ["train.device=cpu", "train.checkpoint_seconds=0.05", "train.validation_tokens=2048", "model.context=32"]
    words += [
        "recipe.batch_tokens=256",
        "recipe.depth=1",
        "recipe.warmup_steps=20",
        f"dir={home / 'unused'}",
        "sweep.name=faults",
    ]
    sweep = sweep or "sizes=[{width: 16, depth: 1}, {width: 32, depth: 1}] budgets=[32k,64k,128k] seeds=[0,1]"
    words += [f"sweep.{part}" for part in sweep.replace(", ", ",").replace(": ", ":").split(" ")]
    values = compose_values(words)
    values["launcher"]["retries"] = {"lost": 10**6}  # it is not the cells' fault here
    return parse_settings(values)


def new_store(directory: Path, settings: Settings) -> Store:
    """A sweep that nothing is measured of."""
    from scalesweep.plan.plan import make_plan
    from scalesweep.sweep.corpora import corpus_facts, facts_of_corpus
    from scalesweep.train.data import prepare

    corpus = prepare(settings.data, lambda _: None)
    plan = make_plan(settings, facts_of_corpus(corpus, settings), "cpu")
    store = Store(directory)
    store.plan_file.create(plan, settings.model_dump(mode="json"), corpus_facts(corpus))
    return store


def control(store: Store) -> int:
    """Be the controller of a sweep, as `scalesweep run` is."""
    from scalesweep.run.launch import launch
    from scalesweep.run.launch.monitor import Monitor

    try:
        launch(store, store.plan_file.settings(), "cpu", Monitor(store, store.plan_file.plan()))
    except StoreError as error:  # workers died again and again before they had a cell: start anew
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def start(store: Store, **variables: str) -> subprocess.Popen[bytes]:
    """A controller process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--controller", str(store.directory)]
    with (store.directory / "controller.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | variables, start_new_session=True)


def finish(store: Store) -> None:
    """Measure what is missing, undisturbed."""
    for _ in range(20):
        if start(store).wait() == 0:
            return
    raise SystemExit(f"{store.directory} does not finish: {(store.directory / 'controller.log').read_text()[-2000:]}")


def measured(store: Store) -> dict[str, Any]:
    """Everything that was measured, apart from times and places."""
    kept = {}
    for key in store.plan_file.keys():
        if record := store.record(key):
            curve = [{k: v for k, v in point.items() if k != "tokens_per_second"} for point in store.curve(key)]
            kept[key] = json.dumps([{k: v for k, v in record.items() if k not in ("times", "where")}, curve], sort_keys=True)
    return kept


# -- kills ------------------------------------------------------------------------------------------------------------------


def kill_until(campaign: Campaign, kills: int, quiet: Store, report: Report) -> None:
    """Sweeps whose processes are killed until there were `kills`, each then finished and compared."""
    (campaign.home / "kill").mkdir()
    (campaign.home / "kill" / "sitecustomize.py").write_text(SUICIDE)
    log = campaign.home / "kills.log"
    stores: list[Store] = []
    workers = round(0.9 * kills)
    while (done := counted(log)).total() < kills:
        if not stores or set(stores[-1].states().values()) <= {"COMPLETE"}:
            stores.append(campaign.store(f"killed-{len(stores)}"))
        variables = {
            "PYTHONPATH": os.pathsep.join([str(campaign.home / "kill"), os.environ.get("PYTHONPATH", "")]),
            "SCALESWEEP_KILL_LOG": str(log),
            "SCALESWEEP_KILL_MOST": str(kills),
            "SCALESWEEP_KILL_POINTS": ",".join(POINTS),
        }
        controller = start(stores[-1], **variables)
        try:
            controller.wait(campaign.rng.uniform(5, 15) if done.total() - done["controller"] < workers else 2)
        except subprocess.TimeoutExpired:
            kill_controller(controller, campaign.rng.random() < 0.5, log)
    for store in stores:
        finish(store)
    for point, number in sorted(counted(log).items()):
        report.row(f"SIGKILL at {point}", str(number), "")
    report.add("SIGKILL, all together", str(counted(log).total()), stores, quiet)


def kill_controller(controller: subprocess.Popen[bytes], workers_too: bool, log: Path) -> None:
    """SIGKILL the controller, and its workers in the same moment if asked; otherwise they notice by themselves."""
    children = Path(f"/proc/{controller.pid}/task/{controller.pid}/children").read_text().split() if workers_too else []
    controller.kill()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    controller.wait()
    with log.open("a") as file:
        file.write("controller\n" if not children else "controller and workers\n")


def counted(log: Path) -> Counter[str]:
    """Kills so far, by point."""
    return Counter(log.read_text().split("\n")[:-1]) if log.exists() else Counter()


# -- damage -----------------------------------------------------------------------------------------------------------------


def spoil(path: Path, rng: random.Random) -> str:
    """Truncate the file, or flip one bit."""
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        path.write_bytes(content[: rng.randrange(len(content))])
        return "truncated"
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return "bit-flipped"


def spoil_some(paths: Iterable[Path], number: int, rng: random.Random) -> Counter[str]:
    """Spoil some of the files."""
    paths = sorted(path for path in paths if path.stat().st_size)
    return Counter(spoil(path, rng) for path in rng.sample(paths, min(number, len(paths))))


def damage_finished(campaign: Campaign, number: int, quiet: Store, report: Report) -> None:
    """Damage records and their claims; the cells are measured again."""
    done, stores = Counter[str](), list[Store]()
    while done.total() < number:
        store = Store(campaign.home / f"damaged-{len(stores)}")
        shutil.copytree(quiet.directory, store.directory)
        stores.append(store)
        done += spoil_some(store.directory.glob("cells/*/record.json"), 8, campaign.rng)
        done += spoil_some(store.directory.glob("cells/*/claim-*"), 2, campaign.rng)
        age_claims(store)
        finish(store)
    report.add("records and claims damaged", words(done), stores, quiet)
    damage_curves(campaign, number, quiet, report)


def damage_curves(campaign: Campaign, number: int, quiet: Store, report: Report) -> None:
    """Damage curves of finished cells: each is noticed or sound, and none is fatal."""
    done, trusted, expected = Counter[str](), 0, {key: quiet.curve(key) for key in quiet.plan_file.keys()}
    for i in range(-(-number // len(expected))):
        store = Store(campaign.home / f"curves-{i}")
        shutil.copytree(quiet.directory, store.directory)
        done += spoil_some(store.directory.glob("cells/*/curve.jsonl"), number, campaign.rng)
        curves = {key: store.curve(key) for key in expected}
        trusted += sum(bool(curves[key]) and curves[key] != expected[key] for key in expected)
    if trusted:
        report.wrong.append(f"{trusted} damaged curves were trusted")
    report.row("curves damaged", words(done), f"{trusted} trusted")


def damage_unfinished(campaign: Campaign, number: int, quiet: Store, report: Report) -> None:
    """Stop a sweep in the middle, damage what it goes on from, and let it go on; again and again."""
    done, stores = Counter[str](), [campaign.store("unfinished-0")]
    while done.total() < number:
        if set(stores[-1].states().values()) <= {"COMPLETE"}:
            stores.append(campaign.store(f"unfinished-{len(stores)}"))
        controller = start(stores[-1])
        with contextlib.suppress(subprocess.TimeoutExpired):
            controller.wait(campaign.rng.uniform(6, 9))
        if controller.poll() is None:
            controller.send_signal(signal.SIGTERM)
        controller.wait()
        done += spoil_some(stores[-1].directory.glob("cells/*/checkpoint*.pt"), 6, campaign.rng)
        done += spoil_some(stores[-1].directory.glob("trunks/*/*.pt"), 6, campaign.rng)
        done += spoil_some(stores[-1].directory.glob("cells/*/claim-*"), 2, campaign.rng)
        age_claims(stores[-1])
    for store in stores:
        finish(store)
    report.add("checkpoints, trunk states, claims damaged", words(done), stores, quiet)


def age_claims(store: Store) -> None:
    """Let the lease of damaged claims be over, which is otherwise a minute's wait."""
    for path in store.directory.glob("cells/*/claim-*"):
        os.utime(path, (time.time() - 1000, time.time() - 1000))


def words(done: Counter[str]) -> str:
    """Counts in words."""
    return ", ".join(f"{number} {name}" for name, number in sorted(done.items()))


# -- races ------------------------------------------------------------------------------------------------------------------


def two_controllers(campaign: Campaign, quiet: Store, report: Report) -> None:
    """Two controllers of one sweep, each with its workers."""
    store = campaign.store("two")
    codes = [process.wait() for process in [start(store), start(store)]]
    report.add("two controllers at once", f"exit codes {codes}, {claims_of(store)} claims", [store], quiet)


def race(campaign: Campaign, racers: int, cells: int, report: Report) -> None:
    """Workers that race over cells of some milliseconds; each cell must be claimed once."""
    seeds = ",".join(map(str, range(cells)))
    trivial = tiny_settings(campaign.home, f"sizes=[{{width: 16, depth: 1}}] budgets=[1024] seeds=[{seeds}]")
    values = trivial.model_dump(mode="json")
    stores = []
    for number in (racers, 2):
        values["launcher"]["workers"] = number
        stores.append(new_store(campaign.home / f"race-{number}", parse_settings(values)))
        finish(stores[-1])
    workers = Counter(json.loads(path.read_text())["pid"] for path in stores[0].directory.glob("cells/*/claim-*"))
    if claims_of(stores[0]) != cells:
        report.wrong.append(f"{claims_of(stores[0])} claims of {cells} cells in the race")
    done = f"{racers} workers, {cells} cells, {claims_of(stores[0])} claims by {len(workers)} of the workers"
    report.add("workers racing", done, stores[:1], stores[1])


def claims_of(store: Store) -> int:
    """Claims of all cells."""
    return sum(1 for _ in store.directory.glob("cells/*/claim-*"))


if __name__ == "__main__":
    sys.exit(main())
