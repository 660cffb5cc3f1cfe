import contextlib
import dataclasses
import itertools
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import CPU, PACK_TOLERANCE, arrays, run_alone, run_pack, untimed

from scalesweep.plan.cell import Cell, pack_signature
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.run.checkpoints import load_checkpoint, load_start, previous, save_checkpoint
from scalesweep.settings.settings import Settings
from scalesweep.train.data import batch
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.gradient import Execution, accumulate_gradient
from scalesweep.train.loop import Hooks, Interrupted, train
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.optim import make_optimizer
from scalesweep.train.optim.adamw import StackedAdamW
from scalesweep.train.optim.groups import clip_gradients, group_of, group_settings
from scalesweep.train.pack import Checkpoint, Run
from scalesweep.train.schedule import curve_steps, lr_factor, phase


@pytest.fixture(scope="module")
def cell(settings: Settings, facts: CorpusFacts) -> Cell:
    return make_plan(settings, facts, "cpu").cells[-1]


def test_the_loss_falls_below_that_of_a_uniform_guess(cell: Cell, corpus: Corpus) -> None:
    outcome = run_alone(cell, corpus)
    assert outcome.state == "COMPLETE"
    assert outcome.loss < math.log(cell.shape.vocab_size) - 1
    assert 0 < outcome.loss_se < 0.5
    assert outcome.curve[-1]["tokens"] == cell.tokens


def test_the_same_cell_gives_the_same_bits(cell: Cell, corpus: Corpus) -> None:
    assert untimed(run_alone(cell, corpus)) == untimed(run_alone(cell, corpus))


@pytest.mark.parametrize("stop_after", [1, 13, 31])
def test_stop_and_resume_equal_a_straight_run(cell: Cell, corpus: Corpus, tmp_path: Path, stop_after: int) -> None:
    path = tmp_path / "checkpoint.pt"
    calls = iter(range(10**6))
    with pytest.raises(Interrupted):
        run_alone(cell, corpus, path, lambda: next(calls) >= stop_after - 1)
    stopped = load_checkpoint(path, cell.key)
    assert stopped is not None
    assert stopped.step == stop_after
    assert untimed(run_alone(cell, corpus, path)) == untimed(run_alone(cell, corpus))


def test_writing_checkpoints_does_not_change_the_run(cell: Cell, corpus: Corpus, tmp_path: Path) -> None:
    assert untimed(run_alone(cell, corpus, tmp_path / "c.pt", seconds=0.0)) == untimed(run_alone(cell, corpus))


def spoiled(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 16
    path.write_bytes({"torn": content[: len(content) // 2], "bit": content, "empty": b""}[how])


@pytest.mark.parametrize("how", ["torn", "bit", "empty"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_serves(
    cell: Cell, corpus: Corpus, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint.pt"
    states: list[Checkpoint] = []

    def on_checkpoint(_: int, state: Checkpoint) -> None:
        save_checkpoint(path, state, keep_previous=True)
        states.append(state)

    for stop_after in (10, 5):
        start, steps = load_start(cell, path, []), iter([False] * (stop_after - 1) + [True])
        hooks = Hooks(on_checkpoint=on_checkpoint, should_stop=steps.__next__)
        with pytest.raises(Interrupted):
            train([Run(cell, start)], *arrays(corpus), Execution(CPU), hooks)
    assert [s.step for s in states] == [10, 15]
    spoiled(path, how)
    assert load_start(cell, path, []).step == 10  # type: ignore[union-attr]
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert path.with_suffix(".corrupt").exists()
    spoiled(previous(path), how)
    assert load_start(cell, path, []) is None
    assert untimed(run_alone(cell, corpus, path)) == untimed(run_alone(cell, corpus))


@pytest.mark.parametrize("how", ["torn", "bit", "empty"])
def test_a_damaged_state_of_a_trunk_is_set_aside(cell: Cell, corpus: Corpus, tmp_path: Path, how: str) -> None:
    path = tmp_path / "3.pt"
    run_alone(cell, corpus, path, seconds=0.0)
    state = load_checkpoint(path, cell.key)
    assert state is not None
    save_checkpoint(path, dataclasses.replace(state, key=cell.trunk))
    assert load_start(cell, tmp_path / "none.pt", [path]) is not None
    spoiled(path, how)
    assert load_start(cell, tmp_path / "none.pt", [path]) is None
    assert path.with_suffix(".corrupt").exists()


def test_checkpoints_take_little_of_the_time(cell: Cell, corpus: Corpus) -> None:
    """Saving sleeps here for much longer than a step takes; asked for after every step, it is done once."""
    saved = []
    hooks = Hooks(on_checkpoint=lambda _, state: (saved.append(state.step), time.sleep(0.5))[0])
    train([Run(cell)], *arrays(corpus), Execution(CPU, checkpoint_seconds=1e-9), hooks)
    assert saved == [1]  # 128 steps take less than 25 s


def test_a_checkpoint_of_another_cell_is_not_used(cell: Cell, corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    run_alone(dataclasses.replace(cell, seed=7), corpus, path, seconds=0.0)
    assert untimed(run_alone(cell, corpus, path)) == untimed(run_alone(cell, corpus))


def test_micro_batches_give_the_batch_s_gradient(cell: Cell, corpus: Corpus) -> None:
    windows = torch.from_numpy(batch(corpus.train(), seed=0, step=0, sequences=4, context=32))[None]
    gradients = []
    for micro_batch in (None, 1, 3):
        model = Decoder(cell.shape, [0], 1e4, 1.0)
        torch.nn.init.normal_(model.head, std=0.1, generator=torch.Generator().manual_seed(0))
        loss = accumulate_gradient(model, windows, micro_batch, contextlib.nullcontext)
        gradients.append([p.grad for p in model.parameters()])
        assert loss.item() == pytest.approx(model.losses(windows).mean().item(), rel=1e-5)
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-4, atol=1e-6)


def test_seeds_differ_in_initialisation_and_order(cell: Cell, corpus: Corpus) -> None:
    assert run_alone(dataclasses.replace(cell, seed=1), corpus).loss != run_alone(cell, corpus).loss


def test_divergence_is_a_result_with_the_last_finite_loss(cell: Cell, corpus: Corpus) -> None:
    outcome = run_alone(dataclasses.replace(cell, hidden_lr=1e30, embedding_lr=1e30), corpus)
    assert outcome.state == "DIVERGED"
    assert math.isnan(outcome.loss)
    assert math.isfinite(outcome.last_finite_loss)


@pytest.mark.parametrize("schedule", ["wsd", "cosine"])
def test_schedules(cell: Cell, schedule: str) -> None:
    decay = 20 if schedule == "wsd" else 90
    c = dataclasses.replace(cell, steps=100, warmup_steps=10, schedule=schedule, decay_steps=decay)
    factors = [lr_factor(s, c) for s in range(100)]
    assert factors[:10] == pytest.approx([(s + 1) / 11 for s in range(10)])
    assert max(factors) == factors[100 - decay] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))
    assert 0 < factors[-1] < 0.06
    if schedule == "wsd":
        assert factors[10:80] == [1.0] * 70
        assert factors[85] == pytest.approx(1 - math.sqrt(5 / 20))
    else:
        assert factors[55] == pytest.approx(0.5)


def test_phases_follow_the_schedule(cell: Cell) -> None:
    c = dataclasses.replace(cell, steps=100, warmup_steps=10, schedule="wsd", decay_steps=20)
    assert [phase(s, c) for s in (1, 10, 11, 80, 81, 100)] == ["warmup", "warmup", "constant", "constant", "decay", "decay"]
    cosine = dataclasses.replace(c, schedule="cosine", decay_steps=90)
    assert [phase(s, cosine) for s in (10, 11, 100)] == ["warmup", "decay", "decay"]


def test_curve_points_are_log_spaced_end_at_the_end_and_do_not_depend_on_it() -> None:
    assert curve_steps(1000, 1) == [1, 10, 100, 1000]
    assert curve_steps(3, 50) == [1, 2, 3]
    assert curve_steps(1, 10) == [1]
    assert curve_steps(20, 1000) == list(range(1, 21))
    short, long = curve_steps(537, 16), curve_steps(2400, 16)
    assert short[:-1] == [s for s in long if s < 537]


def test_one_run_clips_like_torch() -> None:
    ours, theirs = [torch.zeros(1, 7)], [torch.zeros(1, 7)]
    ours[0].grad = torch.arange(7.0).view(1, 7)
    theirs[0].grad = ours[0].grad.clone()
    norm = clip_gradients(ours, 1.0)
    assert norm[0] == torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    torch.testing.assert_close(ours[0].grad, theirs[0].grad)


# -- golden losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["wsd", "cosine"])
def test_golden_losses(settings: Settings, schedule: str) -> None:
    """Twenty steps as they were recorded in golden/losses_cpu.json; other processors may round otherwise in the last digits.

    A change that moves them changes what every cell measures: raise CELL_SCHEMA in plan.py and record them anew.
    """
    golden = json.loads((Path(__file__).parents[1] / "golden" / "losses_cpu.json").read_text())[schedule]
    tokens = (np.random.PCG64(0).random_raw(20_001) % 17 * (np.arange(20_001) % 3)).astype(np.uint16)
    cell = make_plan(settings, CorpusFacts("golden", "0" * 16, 64, 20_000), "cpu").cells[-1]
    decay = {"wsd": 5, "cosine": 17}[schedule]
    cell = dataclasses.replace(cell, steps=20, warmup_steps=3, decay_steps=decay, schedule=schedule)
    outcome = train([Run(cell)], tokens, tokens[:4001], Execution(CPU, curve_points=1000), Hooks())[0]
    assert outcome.loss == pytest.approx(golden["loss"], rel=1e-5)
    assert outcome.loss_se == pytest.approx(golden["loss_se"], rel=1e-4)
    assert [p["loss"] for p in outcome.curve] == pytest.approx(golden["steps"], rel=1e-5)
    assert [p["grad_norm"] for p in outcome.curve] == pytest.approx(golden["grad_norm"], rel=1e-3)
    assert [p["lr"] for p in outcome.curve] == pytest.approx(golden["lr"])


def test_the_update_ratio_is_the_step_s_share_of_the_weights(cell: Cell, corpus: Corpus) -> None:
    """AdamW's first step moves each weight by its learning rate, and the decay by lr times wd times the weight."""
    c = dataclasses.replace(cell, weight_decay=0.0, warmup_steps=0)
    ratio = run_alone(c, corpus).curve[0]["update_ratio"]
    model = Decoder(c.shape, [c.seed], c.rope_theta, c.embedding_std)
    matrices = [p for name, p in model.named_parameters() if p.dim() == 3 and name != "embedding"]
    # while the projections onto the residual stream and the head are zero, only the head has a gradient
    weights = math.sqrt(sum(p.square().sum().item() for p in matrices))
    assert ratio == pytest.approx(c.hidden_lr * math.sqrt(model.head.numel()) / weights, rel=0.05)


# -- trunk and branches -----------------------------------------------------------------------------------------------------


def family(cell: Cell) -> tuple[Cell, Cell]:
    """A long cell and a shorter one of the same trunk."""
    long = dataclasses.replace(cell, steps=60, warmup_steps=5, decay_steps=12)
    return long, dataclasses.replace(long, steps=40, decay_steps=8)


def test_a_branch_equals_a_dedicated_run_bit_for_bit(cell: Cell, corpus: Corpus) -> None:
    long, short = family(cell)
    assert long.trunk == short.trunk
    left: list[Checkpoint] = []
    hooks = Hooks(on_snapshot=lambda _, state: left.append(state))
    whole = run_pack([Run(long, snapshots=frozenset({short.branch_step}))], corpus, hooks)[0]
    assert untimed(whole) == untimed(run_alone(long, corpus))
    (snapshot,) = left
    assert (snapshot.key, snapshot.step, snapshot.seconds > 0) == (long.trunk, 32, True)
    branch = run_pack([Run(short, dataclasses.replace(snapshot, seconds=0.0, shared_steps=32))], corpus)[0]
    assert untimed(branch) == untimed(run_alone(short, corpus))
    assert branch.shared_steps == 32


def test_a_trunk_is_what_a_run_is_before_its_decay(cell: Cell) -> None:
    long, short = family(cell)
    for change in ({"seed": 5}, {"hidden_lr": 1.0}, {"warmup_steps": 6}, {"batch_sequences": 9}, {"weight_decay": 0.5}):
        assert dataclasses.replace(short, **change).trunk != long.trunk
    cosine = [dataclasses.replace(c, schedule="cosine") for c in (long, short)]
    assert [c.trunk for c in cosine] == [c.key for c in cosine]


def test_the_furthest_state_that_a_cell_may_go_on_from(cell: Cell, corpus: Corpus, tmp_path: Path) -> None:
    long, short = family(cell)
    saved: list[Path] = []

    def keep(_: int, state: Checkpoint) -> None:
        saved.insert(0, tmp_path / f"{state.step}.pt")
        save_checkpoint(saved[0], state)

    run_pack([Run(long, snapshots=frozenset({16, 32, 48}))], corpus, Hooks(on_snapshot=keep))
    own = tmp_path / "own.pt"
    start = load_start(short, own, saved)
    assert start is not None and (start.step, start.shared_steps, start.seconds) == (32, 32, 0.0)
    calls = iter(range(99))
    with pytest.raises(Interrupted):
        run_alone(short, corpus, own, lambda: next(calls) >= 19)
    mine = load_start(short, own, saved[2:])
    assert mine is not None and (mine.step, mine.shared_steps) == (20, 0)
    other = load_start(short, own, saved)
    assert other is not None and (other.step, other.seconds) == (32, mine.seconds)
    saved[1].write_bytes(saved[1].read_bytes()[:100])
    fallback = load_start(short, tmp_path / "none.pt", saved)
    assert fallback is not None and fallback.step == 16
    assert saved[1].with_suffix(".corrupt").exists()


# -- packs ------------------------------------------------------------------------------------------------------------------


EPSILONS = [f.name for f in dataclasses.fields(Cell) if f.name == "eps" or f.name.endswith("_eps")]


def random_pack(cell: Cell, seed: int) -> list[Cell]:
    rng = np.random.default_rng(seed)
    base = dataclasses.replace(
        cell,
        steps=int(rng.integers(8, 30)),
        batch_sequences=int(rng.integers(1, 5)),
        warmup_steps=2,
        decay_steps=2,
        shape=dataclasses.replace(cell.shape, depth=int(rng.integers(1, 4)), qk_norm=bool(rng.integers(2))),
    )
    return [
        dataclasses.replace(
            base,
            seed=int(rng.integers(100)),
            warmup_steps=int(rng.integers(0, 4)),
            decay_steps=int(rng.integers(1, 5)),
            hidden_lr=float(10 ** rng.uniform(-3, -2)),
            embedding_lr=float(10 ** rng.uniform(-3, -2)),
            beta1=float(rng.uniform(0.8, 0.95)),
            beta2=float(rng.uniform(0.9, 0.999)),
            weight_decay=float(rng.choice([0.0, 0.1, 1.0])),
            **{name: float(10 ** rng.uniform(-9, -6)) for name in EPSILONS},
            grad_clip=float(rng.choice([0.1, 1.0])),
        )
        for _ in range(int(rng.integers(2, 6)))
    ]


@pytest.mark.parametrize("seed", range(6))
def test_a_pack_measures_what_its_runs_measure_alone(cell: Cell, corpus: Corpus, seed: int) -> None:
    cells = random_pack(cell, seed)
    assert len({pack_signature(c) for c in cells}) == 1
    for c, together in zip(cells, run_pack(cells, corpus), strict=True):
        alone = run_alone(c, corpus)
        assert together.loss == pytest.approx(alone.loss, abs=PACK_TOLERANCE)
        assert together.loss_se == pytest.approx(alone.loss_se, rel=1e-3)
        for ours, theirs in zip(together.curve, alone.curve, strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], abs=PACK_TOLERANCE)
            assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-2)
            assert ours["update_ratio"] == pytest.approx(theirs["update_ratio"], rel=1e-2)
            assert [ours[k] for k in ("step", "phase", "lr")] == [theirs[k] for k in ("step", "phase", "lr")]


def test_cells_of_another_shape_batch_or_length_are_not_packed(cell: Cell) -> None:
    wider = dataclasses.replace(cell.shape, width=64)
    for change in ({"shape": wider}, {"steps": 7}, {"batch_sequences": 9}, {"precision": "bfloat16"}, {"schedule": "cosine"}):
        assert pack_signature(dataclasses.replace(cell, **change)) != pack_signature(cell)


def test_a_diverging_run_does_not_touch_its_neighbours(cell: Cell, corpus: Corpus) -> None:
    bad = dataclasses.replace(cell, hidden_lr=1e30, embedding_lr=1e30)
    others = [dataclasses.replace(cell, seed=s) for s in (1, 2)]
    with_it = run_pack([others[0], bad, others[1]], corpus)
    without = run_pack([others[0], cell, others[1]], corpus)
    assert with_it[1].state == "DIVERGED"
    assert untimed(with_it[0]) == untimed(without[0])
    assert untimed(with_it[2]) == untimed(without[2])
    alone = run_alone(bad, corpus)
    assert with_it[1].last_finite_loss == pytest.approx(alone.last_finite_loss, abs=PACK_TOLERANCE)
    assert [p["step"] for p in with_it[1].curve] == [p["step"] for p in alone.curve]


def test_a_pack_of_diverged_runs_ends(cell: Cell, corpus: Corpus) -> None:
    bad = [dataclasses.replace(cell, hidden_lr=1e30, embedding_lr=1e30, seed=s) for s in (1, 2)]
    assert [o.state for o in run_pack(bad, corpus)] == ["DIVERGED", "DIVERGED"]


def test_pack_alone_and_resumed_mix_freely(cell: Cell, corpus: Corpus) -> None:
    """Three runs together, two of them on together with a fourth at the same step, one alone: each as if never stopped."""
    cells = [dataclasses.replace(cell, seed=s) for s in range(4)]
    states: dict[str, Checkpoint] = {}

    def stopped(runs: Sequence[Cell | Run]) -> None:
        own = [r.cell if isinstance(r, Run) else r for r in runs]
        calls = iter(range(99))
        keep = Hooks(lambda *_: None, lambda i, s: states.update({own[i].key: s}), should_stop=lambda: next(calls) >= 20)
        with pytest.raises(Interrupted):
            run_pack(runs, corpus, keep)

    stopped(cells[:3])
    stopped(cells[3:])
    assert {s.step for s in states.values()} == {21}
    runs = [Run(c, states[c.key]) for c in cells]
    outcomes = [*run_pack(runs[:1], corpus), *run_pack(runs[1:], corpus)]
    for c, outcome in zip(cells, outcomes, strict=True):
        assert outcome.loss == pytest.approx(run_alone(c, corpus).loss, abs=PACK_TOLERANCE)


def test_a_resumed_pack_equals_one_that_was_never_stopped(cell: Cell, corpus: Corpus) -> None:
    cells = [dataclasses.replace(cell, seed=s) for s in range(3)]
    states: dict[int, Checkpoint] = {}
    calls = iter(range(99))
    with pytest.raises(Interrupted):
        run_pack(cells, corpus, Hooks(on_checkpoint=states.__setitem__, should_stop=lambda: next(calls) >= 17))
    resumed = run_pack([Run(c, states[i]) for i, c in enumerate(cells)], corpus)
    assert [untimed(o) for o in resumed] == [untimed(o) for o in run_pack(cells, corpus)]


def test_stacked_adamw_is_torch_s(cell: Cell) -> None:
    """Ten steps on random gradients against torch.optim.AdamW with clipping, for runs whose settings all differ."""
    cells = random_pack(cell, 3)
    base = cells[0]
    stacked = Decoder(base.shape, [c.seed for c in cells], 1e4, 1.0)
    optimizer = make_optimizer(stacked, cells)
    assert isinstance(optimizer, StackedAdamW)
    singles = [Decoder(base.shape, [c.seed], 1e4, 1.0).double() for c in cells]
    references = []
    for c, model in zip(cells, singles, strict=True):
        groups = [
            {
                "params": [p for name, p in model.named_parameters() if group_of(name) == group],
                "lr": 0.5 * s.peak_lr,
                "weight_decay": s.weight_decay,
                "eps": s.eps,
            }
            for group, s in group_settings(c).items()
        ]
        references.append(torch.optim.AdamW(groups, betas=(c.beta1, c.beta2)))
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        for name, p in stacked.named_parameters():
            p.grad = torch.randn(p.shape, generator=generator)
            for i, model in enumerate(singles):
                model.get_parameter(name).grad = p.grad[i : i + 1].double()
        expected = [torch.nn.utils.clip_grad_norm_(m.parameters(), c.grad_clip) for m, c in zip(singles, cells, strict=True)]
        for reference in references:
            reference.step()
        norms = optimizer.step([0.5] * len(cells))
        torch.testing.assert_close(norms, torch.stack(expected).float(), rtol=1e-5, atol=0)
        assert all(p.grad is None for p in stacked.parameters())
    for i, model in enumerate(singles):
        for name, p in model.named_parameters():
            torch.testing.assert_close(stacked.get_parameter(name)[i], p[0].float(), rtol=1e-4, atol=1e-6, msg=name)
