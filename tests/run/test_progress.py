"""What a store's files say of a sweep's progress."""

import dataclasses
import io
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from scalesweep.plan.cell import Cell
from scalesweep.plan.cost import evaluation_steps
from scalesweep.plan.flops import flops_per_token
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.run.launch import monitor
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.store.contents import read_curve_end
from scalesweep.run.store.progress import logs_of, progress_of, speeds
from scalesweep.run.store.store import Claim, Store
from scalesweep.settings.plan import CountSpec
from scalesweep.settings.settings import Settings


@pytest.fixture
def plan(settings: Settings, facts: CorpusFacts) -> Plan:
    """Four cells, each with a trunk of its own: the warm-ups differ."""
    return make_plan(settings, facts, "cpu")


@pytest.fixture
def store(tmp_path: Path, plan: Plan, settings: Settings) -> Store:
    store = Store(tmp_path / "sweep")
    store.plan_file.create(plan, settings.model_dump(mode="json"), {})
    return store


def record_of(cell: Cell, seconds: float, state: str = "COMPLETE") -> dict[str, Any]:
    return {
        "key": cell.key,
        "state": state,
        "loss": 3.0,
        "loss_se": 0.1,
        "last_finite_loss": 3.1,
        "cell": dataclasses.asdict(cell),
        "row": cell.row(CountSpec()),
        "where": {"device": "CPU (x86_64)"},
        "times": {"training_seconds": seconds, "shared_steps": 0},
    }


def claim(store: Store, cell: Cell) -> Claim:
    taken = store.claims.take(cell.key)
    assert taken is not None
    return taken


def point(cell: Cell, step: int, tokens_per_second: float) -> dict[str, float]:
    return {"step": step, "tokens": step * cell.batch_tokens, "loss": 3.0, "tokens_per_second": tokens_per_second}


def test_a_new_sweep_has_no_worker_and_no_speed(store: Store, plan: Plan) -> None:
    progress = progress_of(store)
    assert progress.counts == {"WAITING": len(plan.cells)}
    assert (progress.workers, progress.eta_seconds, progress.seconds_left, progress.share) == ((), None, None, 0.0)
    assert not progress.is_over


def test_a_finished_sweep_is_over_and_has_cost_what_its_records_say(store: Store, plan: Plan) -> None:
    for i, cell in enumerate(plan.cells):
        assert store.write_record(claim(store, cell), record_of(cell, 10.0 + i, "DIVERGED" if i == 0 else "COMPLETE"))
    progress = progress_of(store)
    assert progress.is_over
    assert progress.counts == {"COMPLETE": len(plan.cells) - 1, "DIVERGED": 1}
    assert progress.seconds_spent == sum(10.0 + i for i in range(len(plan.cells)))
    assert (progress.seconds_left, progress.eta_seconds, progress.share) == (0, 0.0, 1.0)
    assert progress.finished_flops == progress.flops
    assert progress.device == "cpu"


def test_a_worker_is_where_its_curve_and_its_speed_put_it(store: Store, plan: Plan) -> None:
    cell = plan.longest_first[0]
    taken = claim(store, cell)
    speed = 2.0 * cell.batch_tokens  # two steps a second
    store.write_curve(taken, [point(cell, 10, speed)])
    then = time.time() - 5
    os.utime(store.cell_dir(cell.key) / "curve.jsonl", (then, then))
    (worker,) = progress_of(store).workers
    assert (worker.pid, worker.cells, worker.steps) == (os.getpid(), (cell.key,), cell.steps)
    assert 20 <= worker.step <= 24
    assert worker.tokens_per_second == speed
    assert worker.flops_per_second == speed * flops_per_token(cell.shape, "attention")
    assert worker.heartbeat_seconds < 5


def test_a_cell_that_goes_on_is_where_its_checkpoint_left_it(store: Store, plan: Plan) -> None:
    """The time between two workers adds no step, however long it was; a cell without a checkpoint begins anew."""
    cell = plan.longest_first[0]
    store.write_curve(first := claim(store, cell), [point(cell, 10, 2.0 * cell.batch_tokens)])
    store.claims.release(first)
    curve, then = store.cell_dir(cell.key) / "curve.jsonl", time.time() - 36_000
    os.utime(curve, (then, then))
    second = claim(store, cell)
    assert [w.step for w in progress_of(store).workers] == [0]
    store.checkpoint(cell.key).touch()
    progress = progress_of(store)
    assert [w.step for w in progress.workers] == [10]
    assert progress.seconds_left is not None
    assert progress.seconds_left > (cell.steps - 10) * 0.5
    store.write_curve(second, [point(cell, 12, 2.0 * cell.batch_tokens)])
    os.utime(curve, (time.time() - 5,) * 2)
    assert 22 <= progress_of(store).workers[0].step <= 26


def test_the_time_of_a_cell_that_was_stopped_is_spent(store: Store, plan: Plan) -> None:
    cell, other = plan.longest_first[:2]
    store.write_curve(taken := claim(store, cell), [point(cell, 40, 2.0 * cell.batch_tokens)])
    store.checkpoint(cell.key).touch()
    store.claims.release(taken)
    progress = progress_of(store)
    assert progress.workers == ()
    assert progress.seconds_spent == 20.0
    assert progress.seconds_left is not None
    assert progress.share == 20.0 / (20.0 + progress.seconds_left)
    assert store.write_record(claim(store, other), record_of(other, 7.0))
    assert progress_of(store).seconds_spent == pytest.approx(27.0)
    store.checkpoint(cell.key).unlink()  # its steps are lost, and their time is not
    again = progress_of(store)
    assert again.seconds_spent == pytest.approx(27.0)
    assert again.seconds_left is not None
    assert again.seconds_left > (cell.steps + evaluation_steps(cell)) * 0.5


def test_the_time_left_follows_from_the_measured_speed(store: Store, plan: Plan) -> None:
    """One worker at two steps a second: what is left takes half a second a step, scaled by FLOPs for the other size."""
    cell = plan.longest_first[0]
    store.write_curve(claim(store, cell), [point(cell, 10, 2.0 * cell.batch_tokens)])
    progress = progress_of(store)
    per_flop = 0.5 / (cell.flops(CountSpec()) / cell.steps)
    others = [c for c in plan.cells if c.key != cell.key]
    expected = (cell.steps - 10 + evaluation_steps(cell)) * 0.5
    expected += sum((c.steps + evaluation_steps(c)) * per_flop * c.flops(CountSpec()) / c.steps for c in others)
    assert progress.seconds_left == pytest.approx(expected, abs=3.0)  # steps go by while the test runs
    assert progress.eta_seconds == pytest.approx(progress.seconds_left)


def test_a_cell_that_waits_for_a_trunk_is_left_with_its_decay(tmp_path: Path, plan: Plan, settings: Settings) -> None:
    cells = tuple(dataclasses.replace(c, warmup_steps=3) for c in plan.cells if c.shape == plan.cells[0].shape)
    plan, store = dataclasses.replace(plan, cells=cells), Store(tmp_path / "shared")
    store.plan_file.create(plan, settings.model_dump(mode="json"), {})
    short, long = sorted(cells, key=lambda c: c.steps)
    taken = claim(store, long)
    slow = long.batch_tokens / 1000.0  # a thousand seconds a step, so that none goes by
    store.write_curve(taken, [point(long, 10, slow)])
    waits = (long.steps - 10 + short.decay_steps + evaluation_steps(short) + evaluation_steps(long)) * 1000
    assert progress_of(store).seconds_left == pytest.approx(waits, rel=1e-3)
    store.write_curve(taken, [point(long, short.branch_step + 5, slow)])  # past it, and no state was left
    alone = (long.steps - short.branch_step - 5 + short.steps + evaluation_steps(short) + evaluation_steps(long)) * 1000
    assert progress_of(store).seconds_left == pytest.approx(alone, rel=1e-3)
    path = store.snapshot(short.trunk, short.branch_step)
    path.parent.mkdir(parents=True)
    path.touch()
    left = (long.steps - short.branch_step - 5 + short.decay_steps + evaluation_steps(short) + evaluation_steps(long)) * 1000
    assert progress_of(store).seconds_left == pytest.approx(left, rel=1e-3)


def test_speeds_are_medians_of_a_kind(plan: Plan) -> None:
    small, large = plan.cells[0], plan.cells[-1]
    step = speeds([record_of(small, s * small.steps) for s in (1.0, 2.0, 9.0)], [])
    assert step is not None
    assert step(small) == pytest.approx(2.0)
    ratio = (large.flops(CountSpec()) / large.steps) / (small.flops(CountSpec()) / small.steps)
    assert step(large) == pytest.approx(2.0 * ratio)
    assert speeds([], []) is None


def test_a_failure_has_its_reason_and_its_log(store: Store, plan: Plan) -> None:
    cell = plan.cells[0]
    for _ in range(2):  # the first failure is tried again
        store.claims.fail(claim(store, cell), "Traceback ...\nRuntimeError: no")
    (store.directory / "logs").mkdir()
    (store.directory / "logs" / "worker-0.log").write_text("nothing\n")
    (store.directory / "logs" / "worker-1.log").write_text(f"12:00:00 {cell.key} FAILED\n")
    (failure,) = progress_of(store).failures
    assert (failure.key, failure.reason) == (cell.key, "RuntimeError: no")
    assert failure.logs == (str(store.directory / "logs" / "worker-1.log"),)
    assert logs_of(store, ["0" * 12]) == {"0" * 12: []}


def test_a_log_is_read_once_however_many_cells_failed(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    for cell in plan.cells:
        for _ in range(2):
            store.claims.fail(claim(store, cell), "RuntimeError: no")
    log = store.directory / "logs" / "worker-0.log"
    log.parent.mkdir()
    log.write_text("".join(f"{cell.key} FAILED\n" for cell in plan.cells))
    read, read_text = [], Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **named: (read.append(path), read_text(path, **named))[1])
    assert all(failure.logs == (str(log),) for failure in progress_of(store).failures)
    assert read.count(log) == 1


def test_the_end_of_a_curve_is_read_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    assert read_curve_end(path) is None
    path.write_text("")
    assert read_curve_end(path) is None
    path.write_text("".join(json.dumps({"step": i, "loss": 2.0}) + "\n" for i in range(5000)))
    end = read_curve_end(path)
    assert end is not None
    assert end.step == 4999
    path.write_text('{"schema": 2, "claim": 1, "checksum": "0"}\n')
    assert read_curve_end(path) is None
    path.write_text('{"step": 1')
    assert read_curve_end(path) is None


def test_the_monitor_says_how_far_the_first_cell_is(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr(monitor, "QUIET_SECONDS", -1.0)
    cell, stream = plan.longest_first[0], io.StringIO()
    store.write_curve(claim(store, cell), [point(cell, cell.steps // 2, 0.0)])
    follower = Monitor(store, plan, stream)
    with follower.showing():
        follower.poll()
    share = cell.flops(CountSpec()) * (cell.steps // 2 / cell.steps) / sum(c.flops(CountSpec()) for c in plan.cells)
    assert stream.getvalue().startswith(f"[0/{len(plan.cells)}] {share:.0%} of the FLOPs")


def test_the_monitor_says_how_fast_a_pack_is_once(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell of a pack has the speed of all in its curve, and is as far as its share of that brings it."""
    monkeypatch.setattr(monitor, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr(monitor, "QUIET_SECONDS", -1.0)
    pack = [cell for cell in plan.cells if cell.shape == plan.longest_first[0].shape]
    for cell in pack:
        store.write_curve(claim(store, cell), [point(cell, cell.steps // 2, 2500.0)])
    rate = 2500 * flops_per_token(pack[0].shape, "attention")
    for ceiling, said in ((None, "2.5k tokens/s\n"), (4 * rate, "2.5k tokens/s, 25% of the ceiling\n")):
        follower = Monitor(store, plan, stream := io.StringIO(), ceiling=ceiling)
        with follower.showing():
            follower.poll()
        assert stream.getvalue().endswith(f" of the FLOPs, {said}")


@pytest.mark.parametrize(("columns", "said"), [(70, ""), (80, "2.5k tokens/s"), (120, "2.5k tokens/s, 25% of the ceiling")])
def test_a_narrow_terminal_leaves_speed_out(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch, columns: int, said: str
) -> None:
    monkeypatch.setattr(monitor, "LOOK_SECONDS", -1.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    cell = plan.longest_first[0]
    store.write_curve(claim(store, cell), [point(cell, cell.steps // 2, 2500.0)])
    rate = 2500 * flops_per_token(cell.shape, "attention")
    follower = Monitor(store, plan, stream := io.StringIO(), ceiling=4 * rate)
    with follower.showing():
        follower.poll()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert f" of the FLOPs {said}".rstrip() in re.sub(r" *\d+:\d\d:\d\d eta \S+", "", plain)
    assert ("tokens/s" in plain, "ceiling" in plain) == ("tokens/s" in said, "ceiling" in said)
