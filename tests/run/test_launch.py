import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import IN_BACKGROUND, command_line, make_store, measured, one_size, small_settings

from scalesweep.cores import cores, num_cores
from scalesweep.errors import DeviceLost, SpecError, StoreError
from scalesweep.files import StorageFailed
from scalesweep.plan.grid import CorpusFacts
from scalesweep.run.launch import device, launch, local
from scalesweep.run.launch.breaker import Breakers
from scalesweep.run.launch.device import Gpu, Gpus, look, resolve_device
from scalesweep.run.launch.local import num_workers
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.launch.smi import said
from scalesweep.run.store.store import Store
from scalesweep.settings.run import LauncherSpec
from scalesweep.settings.settings import Settings
from scalesweep.settings.train import TrainSpec
from scalesweep.train.data.corpus import Corpus


def with_launcher(settings: Settings, name: str, workers: int = 2) -> Settings:
    return settings.model_copy(update={"launcher": LauncherSpec(name=name, workers=workers)})


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory, settings: Settings, corpus: Corpus, facts: CorpusFacts) -> Store:
    store = make_store(tmp_path_factory.mktemp("inline") / "sweep", settings, corpus, facts)
    launch(store, settings, "cpu", Monitor(store, store.plan_file.plan()))
    return store


def test_local_workers_measure_what_one_process_measures(
    tmp_path: Path, inline: Store, settings: Settings, corpus: Corpus, facts: CorpusFacts, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = with_launcher(settings, "local")
    store = make_store(tmp_path / "sweep", chosen, corpus, facts)
    launch(store, chosen, "cpu", Monitor(store, store.plan_file.plan(), sys.stdout))
    assert measured(store) == measured(inline)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith("[4/4]")


@pytest.mark.slow
def test_local_workers_share_a_trunk_and_none_is_started_for_a_cell_that_waits(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets = [8192, 65536, 524_288]
    alone = make_store(tmp_path / "alone", one_size(home, sweep={"budgets": budgets}), corpus, facts)
    launch(alone, alone.plan_file.settings(), "cpu", Monitor(alone, alone.plan_file.plan()))
    chosen = one_size(home, sweep={"budgets": budgets}, launcher={"name": "local", "workers": 3})
    store = make_store(tmp_path / "sweep", chosen, corpus, facts)
    started, popen = [], subprocess.Popen

    def start(command: list[str], **how: Any) -> Any:
        if "scalesweep.run" in command:
            started.append(command)
        return popen(command, **how)

    monkeypatch.setattr(subprocess, "Popen", start)
    launch(store, chosen, "cpu", Monitor(store, store.plan_file.plan()))
    assert measured(store) == measured(alone)
    assert len(started) == 3  # each lives until nothing is left, also those that find only cells that wait


def test_a_launch_with_nothing_to_do_starts_no_worker(inline: Store, settings: Settings) -> None:
    chosen = with_launcher(settings, "local")
    started = time.monotonic()
    launch(inline, chosen, "cpu", Monitor(inline, inline.plan_file.plan()))
    assert time.monotonic() - started < 1


def test_a_cell_that_kills_its_worker_again_and_again_is_given_up(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker program that claims the longest cell and dies stands for one that the system kills for its memory."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if '-m scalesweep.run ' in ' '.join(sys.orig_argv):\n"
        "    from pathlib import Path\n"
        "    from scalesweep.run.store.store import Store\n"
        "    store = Store(Path(sys.orig_argv[4]))\n"
        "    if store.claims.take(store.plan_file.plan().longest_first[0].key): os.kill(os.getpid(), 9)\n"
    )
    chosen = with_launcher(settings, "local", workers=1)
    store = make_store(tmp_path / "sweep", chosen, corpus, facts)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    launch(store, chosen, "cpu", Monitor(store, store.plan_file.plan()))
    states = store.states()
    first = store.plan_file.plan().longest_first[0].key
    assert states.pop(first) == "FAILED"
    assert "died 4 times with this cell, last by signal 9" in store.claims.error(first)
    log = (store.directory / "logs" / "worker-0.log").read_text()
    assert len(re.findall(rf"\d\d:\d\d:\d\d {first} lost: worker \d+ ended by signal 9\n", log)) == 4
    assert all(f"{key} begins\n" in log for key in states)
    assert set(states.values()) == {"COMPLETE"}


def test_workers_that_die_before_they_have_a_cell_end_the_sweep(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif '-m scalesweep.run ' in ' '.join(sys.orig_argv): os.kill(os.getpid(), 9)\n"
    )
    chosen = with_launcher(settings, "local", workers=2)
    store = make_store(tmp_path / "sweep", chosen, corpus, facts)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(StoreError, match="workers died 4 times before they had a cell, last by signal 9"):
        launch(store, chosen, "cpu", Monitor(store, store.plan_file.plan()))
    assert set(store.states().values()) == {"WAITING"}


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_and_its_cell_goes_on(
    tmp_path: Path, inline: Store, settings: Settings, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker sleeps for ever at its 20th batch, as in a collective or on a device that does not answer."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if '-m scalesweep.run ' in ' '.join(sys.orig_argv):\n"
        "    import time\n"
        "    from scalesweep.run import lease\n"
        "    from scalesweep.train import stepper\n"
        "    lease.HANG_SECONDS, lease.HEARTBEAT_SECONDS, batch = 3.0, 0.2, stepper.batch\n"
        f"    def hanging(*arguments, step, flag={str(tmp_path / 'hung')!r}, **named):\n"
        "        if step == 20 and not os.path.exists(flag):\n"
        "            open(flag, 'w').close()\n"
        "            time.sleep(1000)\n"
        "        return batch(*arguments, step=step, **named)\n"
        "    stepper.batch = hanging\n"
    )
    chosen = with_launcher(settings, "local", workers=1)
    store = make_store(tmp_path / "sweep", chosen, corpus, facts)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    launch(store, chosen, "cpu", Monitor(store, store.plan_file.plan()))
    assert measured(store) == measured(inline)
    first = store.plan_file.plan().longest_first[0].key
    assert store.claims.lost(first) >= 1
    assert "given up, hung: no step for" in (store.directory / "logs" / "worker-0.log").read_text()


def test_a_worker_whose_heartbeats_do_not_come_back_is_killed(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process (SIGSTOP) beats no more, and its cell is lost when the lease is over."""
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    key = store.plan_file.keys()[0]
    code = "import pathlib, time; from scalesweep.run.store.store import Store; "
    code += f"Store(pathlib.Path({str(store.directory)!r})).claims.take({key!r})"
    slot = local.Slot("cpu", None, "worker-0.log", subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(600)"]))
    assert slot.process is not None
    while store.state(key) != "RUNNING":
        time.sleep(0.05)
    os.utime(store.cell_dir(key) / "claim-1", (1, 1))
    local.kill_stuck(store, [slot], store.states())
    assert slot.process.poll() is None  # the machine may have slept: there is a moment to beat again
    monkeypatch.setattr(local, "HEARTBEAT_SECONDS", 0.0)
    local.kill_stuck(store, [slot], store.states())
    assert slot.process.wait(20) == -signal.SIGKILL
    local.reap(store, [slot], store.plan_file.keys(), Breakers(store, print))
    assert (slot.process, slot.early_deaths) == (None, 0)
    assert store.state(key) == "LOST"


def test_a_worker_that_cannot_write_says_why(tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts) -> None:
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    (store.directory / "logs").mkdir()
    (store.directory / "logs" / "worker-0.log").write_text("12:00:00 x cannot be written: No space left; make room.\n")
    slot = local.Slot("cpu", None, "worker-0.log", subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"]))
    slot.process.wait()  # type: ignore[union-attr]
    with pytest.raises(StoreError, match=r"a worker cannot work: x cannot be written: No space left; make room\. Its log is"):
        local.reap(store, [slot], [], Breakers(store, print))


@pytest.mark.parametrize("said", ["12:00:00 x cannot be written: No space left; make room.\n", ""])
def test_a_full_disk_is_named_even_where_the_log_is_empty(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts, said: str
) -> None:
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    (store.directory / "logs").mkdir()
    (store.directory / "logs" / "worker-0.log").write_text(said)
    slot = local.Slot("cpu", None, "worker-0.log", subprocess.Popen([sys.executable, "-c", "raise SystemExit(74)"]))
    slot.process.wait()  # type: ignore[union-attr]
    with pytest.raises(StorageFailed, match=r"cannot be written.*make room"):
        local.reap(store, [slot], [], Breakers(store, print))


def test_a_worker_that_ends_by_a_fault_of_its_own_is_replaced(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts
) -> None:
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    key = store.plan_file.keys()[0]
    imports = "import pathlib; from scalesweep.run.store.store import Store"
    code = f"{imports}; Store(pathlib.Path({str(store.directory)!r})).claims.take({key!r})"
    for deaths in range(local.MAX_DEATHS + 1):
        slot = local.Slot("cpu", None, "worker-0.log", subprocess.Popen([sys.executable, "-c", f"{code}; raise ValueError"]))
        slot.process.wait()  # type: ignore[union-attr]
        local.reap(store, [slot], [key], Breakers(store, print))
        claim = json.loads((store.cell_dir(key) / f"claim-{deaths + 1}").read_text())
        assert (claim["state"], claim["reason"]) == ("lost", "with exit code 1")
    assert store.state(key) == "FAILED"


@pytest.mark.slow
def test_workers_that_die_together_are_each_charged_for_their_own_cell(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four workers each take a cell and die once, at the same time; nothing is given up."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if '-m scalesweep.run ' in ' '.join(sys.orig_argv):\n"
        "    from pathlib import Path\n"
        "    from scalesweep.run.store.store import Store\n"
        "    store = Store(Path(sys.orig_argv[4]))\n"
        "    fresh = [c.key for c in store.plan_file.plan().cells if not list(store.cell_dir(c.key).glob('claim-*'))]\n"
        "    if any(map(store.claims.take, fresh)): os.kill(os.getpid(), 9)\n"
    )
    chosen = with_launcher(settings, "local", workers=4)
    store = make_store(tmp_path / "sweep", chosen, corpus, facts)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    launch(store, chosen, "cpu", Monitor(store, store.plan_file.plan()))
    assert set(store.states().values()) == {"COMPLETE"}


@pytest.mark.slow
def test_kills_of_everything_change_no_bit(tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts) -> None:
    """kill -9 of the controller and its workers at random moments; afterwards the records are those of a quiet sweep."""
    grid = {
        "name": "tiny",
        "sizes": [{"width": 32, "depth": 1}, {"width": 64, "depth": 2}],
        "budgets": [8192, 131072, 800_000],
    }
    settings = small_settings(home, sweep=grid, launcher={"name": "local", "workers": 2}, train={"checkpoint_seconds": 0.3})
    quiet = make_store(tmp_path / "quiet", settings, corpus, facts)
    launch(quiet, settings, "cpu", Monitor(quiet, quiet.plan_file.plan()))
    command = command_line(tmp_path, settings)
    rng = random.Random(0)
    kills = 0
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(rng.uniform(2.0, 4.0))
        except subprocess.TimeoutExpired:
            kill_tree(process.pid, controller=rng.random() < 0.7)
            kills += 1
        if process.poll() is None:
            process.kill()
        process.wait()
    final = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert final.returncode == 0, final.stderr
    assert kills >= 2
    store = Store(tmp_path / "killed")
    assert measured(store) == measured(quiet)
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "Nothing new to measure: all 6 cells" in again.stdout


def kill_tree(pid: int, controller: bool) -> None:
    """SIGKILL the workers, and the controller too if asked; a controller left alone has a moment to start new ones."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    if controller:
        os.kill(pid, signal.SIGKILL)
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    if not controller:
        time.sleep(1.0)


@IN_BACKGROUND
@pytest.mark.slow
def test_ctrl_c_stops_in_order_and_the_same_command_goes_on(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    grid = {"name": "tiny", "sizes": [{"width": 32, "depth": 1}, {"width": 64, "depth": 2}], "budgets": [4096, 200_000]}
    settings = small_settings(home, sweep=grid, launcher={"name": "local", "workers": 2})
    command = command_line(tmp_path, settings)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    store = Store(tmp_path / "killed")
    while not list(store.directory.glob("cells/*/curve.jsonl")):
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; what was measured is kept, and the same command goes on from here" in errors
    assert "RUNNING" not in store.states().values()
    final = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert final.returncode == 0, final.stderr
    assert set(store.states().values()) == {"COMPLETE"}


def train_spec(settings: Settings, **values: str) -> TrainSpec:
    return settings.train.model_copy(update=values)


def test_cuda_that_is_not_there_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SpecError, match=r"train\.device = 'cuda': PyTorch sees no CUDA device here"):
        resolve_device(train_spec(settings, device="cuda"))


def test_a_compiler_that_would_be_ignored_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for device_asked in ("auto", "cpu"):
        with pytest.raises(SpecError, match=r"train\.compile = 'true': on the CPU, .* nothing is compiled; leave it out\."):
            resolve_device(train_spec(settings, device=device_asked, compile="true"))
    assert resolve_device(train_spec(settings, device="auto", compile="false")) == "cpu"


@pytest.fixture
def one_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An nvidia-smi that lists a GPU."""
    text = "#!/bin/sh\ncase $1 in -L) echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)' ;; *) echo 'CUDA Version: 12.4 |' ;; esac\n"
    (tmp_path / "nvidia-smi").write_text(text)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    said.cache_clear()
    look.cache_clear()
    yield
    said.cache_clear()
    look.cache_clear()


def seen(*gpus: Gpu, reason: str = "") -> Gpus:
    return Gpus("2.11.0+cu130", "13.0", reason, gpus)


GPU = Gpu(0, "NVIDIA H100", "0001", (9, 0), 80 * 2**30, 79 * 2**30, "")


def test_a_gpu_that_torch_cannot_use_is_no_cpu(settings: Settings, one_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = train_spec(settings, device="auto")
    monkeypatch.setattr(device, "look", lambda: seen(reason="The NVIDIA driver is too old"))
    with pytest.raises(
        SpecError, match=r"lists 1 GPU \(NVIDIA H100\), and torch .* cannot use it: The NVIDIA driver is too old\. "
    ) as no:
        resolve_device(spec)
    assert "torch is built for CUDA 13.0, the driver is of CUDA 12.4: scripts/install.sh" in str(no.value)
    monkeypatch.setattr(device, "look", lambda: seen(replace(GPU, trouble="CUDA error: no kernel image is available")))
    with pytest.raises(
        SpecError, match=r"no GPU of this machine can be used\. cuda:0 \(NVIDIA H100\): CUDA error: no kernel image"
    ):
        resolve_device(spec)
    assert resolve_device(train_spec(settings, device="cpu")) == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert resolve_device(spec) == "cpu"  # hidden on purpose


def test_of_several_gpus_those_that_can_be_used_train(
    settings: Settings, one_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = replace(GPU, index=1, free=2**28)
    monkeypatch.setattr(device, "look", lambda: seen(GPU, busy, replace(GPU, index=2)))
    monkeypatch.setattr(local, "look", device.look)
    assert resolve_device(train_spec(settings, device="auto")) == "cuda"
    assert [slot.device for slot in local.make_slots("cuda", 3, "worker")] == ["cuda:0", "cuda:2", "cuda:0"]
    assert device.gpus_set_aside() == [
        "cuda:1 (NVIDIA H100) is set aside: other processes hold 79.8 of its 80.0 GiB of memory."
    ]


def test_a_card_without_bfloat16_trains_in_float32(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "look", lambda: seen(replace(GPU, name="Tesla T4", capability=(7, 5))))
    lines: list[str] = []
    auto = settings.model_copy(update={"train": train_spec(settings, precision="auto")})
    assert device.suited(auto, "cuda", lines.append).train.precision == "float32"
    assert lines[0].startswith(
        "cuda:0 (Tesla T4, compute capability 7.5) has no bfloat16 in hardware, so this sweep is trained in"
    )
    asked = settings.model_copy(update={"train": train_spec(settings, precision="bfloat16")})
    assert device.suited(asked, "cuda", lines.append) == asked
    monkeypatch.setattr(device, "look", lambda: seen(GPU))
    assert device.suited(auto, "cuda", lines.append) == auto
    assert len(lines) == 1


def test_one_worker_a_core_unless_told(settings: Settings) -> None:
    assert num_workers(settings, "cpu") == 1  # inline
    assert num_workers(with_launcher(settings, "local", 3), "cpu") == 3
    auto = settings.model_copy(update={"launcher": LauncherSpec(name="local")})
    assert num_workers(auto, "cpu") == num_cores() <= len(os.sched_getaffinity(0))


def test_cores_are_those_that_the_container_and_slurm_grant(tmp_path: Path) -> None:
    def granted(files: dict[str, str], **environment: str) -> int:
        root = tmp_path / str(len([*tmp_path.iterdir()]))
        root.mkdir()
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return num_cores(root, environment)

    all_of_them, top = len(cores()), "sys/fs/cgroup"
    assert granted({}) == granted({f"{top}/cpu.max": "max 100000"}) == all_of_them
    assert granted({f"{top}/cpu.max": "50000 100000"}) == 1
    assert granted({f"{top}/cpu.max": f"{all_of_them}50000 100000"}) == all_of_them
    limits = {f"{top}/user/cpu.max": "100000 100000", f"{top}/user/job/cpu.max": "max 100000"}
    assert granted({"proc/self/cgroup": "0::/user/job\n", **limits}) == 1
    for quota, expected in (("100000", 1), ("-1", all_of_them)):
        folder = f"{top}/cpu/x"
        old = {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": "100000"}
        assert granted({**old, "proc/self/cgroup": "4:cpu:/x\n"}) == expected
    assert granted({}, SLURM_CPUS_PER_TASK="1") == 1
    assert granted({}, SLURM_CPUS_PER_TASK="1000") == all_of_them


FAILING = """
import os, sys
if '-m scalesweep.run ' in ' '.join(sys.orig_argv) and 'cuda' in ' '.join(sys.orig_argv):
    from pathlib import Path
    from scalesweep.run.store.store import Store
    store = Store(Path(sys.orig_argv[4]))
    last = [word for name, word in zip(sys.orig_argv, sys.orig_argv[1:]) if name == '--last']
    for key in sorted((c.key for c in store.plan_file.plan().longest_first), key=lambda key: key in last):
        if claim := store.claims.take(key):
            store.claims.device_failed(claim, 'CUDA error: uncorrectable ECC error encountered', False)
            break
    os._exit(69)
"""


def test_a_gpu_that_fails_twice_is_set_aside_and_its_cells_go_to_others(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAILING)
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    slots = [local.Slot("cuda:1", None, "bad.log"), local.Slot("cpu", None, "good.log")]
    local.supervise(store, slots, Monitor(store, store.plan_file.plan(), sys.stdout), "finished")
    assert set(store.states().values()) == {"COMPLETE"}
    said = [line for line in capsys.readouterr().out.splitlines() if "set aside" in line]
    assert len(said) == 1
    assert said[0].startswith("cuda:1 is set aside: it failed 2 times without progress, with cells ")
    assert said[0].endswith("last: CUDA error: uncorrectable ECC error encountered")
    assert not any('"state": "lost"' in path.read_text() for path in store.directory.glob("cells/*/claim-*"))


def test_without_any_gpu_left_the_sweep_ends_with_a_sentence(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAILING)
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    slots = [local.Slot(f"cuda:{i}", None, f"worker-{i}.log") for i in range(2)]
    with pytest.raises(
        DeviceLost, match=r"no GPU .* is left to train on \(cuda:0: CUDA error: unc.*; cuda:1: .*\); 4 cells not"
    ):
        local.supervise(store, slots, Monitor(store, store.plan_file.plan()), "finished")
    assert set(store.states().values()) == {"WAITING"}
    assert not any(store.claims.lost(key) for key in store.plan_file.keys())


def test_a_cell_that_fails_on_a_good_gpu_is_blamed(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts
) -> None:
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    breakers, said = Breakers(store, print), store.plan_file.plan().longest_first[0].key

    def fail(advanced: bool) -> None:
        claim = store.claims.take(said)
        assert claim is not None
        store.claims.device_failed(claim, "CUDA error: an illegal memory access was encountered", advanced)
        failure = store.claims.failed_device(said, os.getpid())
        assert failure is not None
        breakers.failed("cuda:0", [failure], "")

    fail(False)
    assert breakers.last("cuda:0") == [said]
    assert store.claims.lost(said) == 0
    breakers.got_on("cuda:0")
    assert (store.claims.lost(said), breakers.last("cuda:0")) == (1, [])
    for losses in (1, 2, 3):
        fail(True)
        assert (store.claims.lost(said), breakers.is_aside("cuda:0")) == (losses, False)
    breakers.got_on("cuda:0")
    assert store.state(said) == "FAILED"
    assert "died 4 times with this cell, last CUDA error: an illegal memory access" in store.claims.reason(said)
