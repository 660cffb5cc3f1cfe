"""Answers by teacher forcing: against samples and greedy decoding of a trained cell, and what becomes of their files."""

import contextlib
import dataclasses
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import CPU, small_settings

from scalesweep.plan.cell import Cell
from scalesweep.points.answers import Answers
from scalesweep.run.answers import answers_of
from scalesweep.run.store import answers as kept_answers
from scalesweep.run.store.answers import read_answers
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.data import DataSpec
from scalesweep.sweep.answers import measure_answers
from scalesweep.sweep.corpora import prepare_corpora
from scalesweep.sweep.run import keep_plan, plan_sweep
from scalesweep.train.data.synthetic import entropy_of, key_probabilities
from scalesweep.train.data.tasks import ProblemSet, problem_set
from scalesweep.train.model.export import load_model, load_weights
from scalesweep.train.model.module import Model, build_model
from scalesweep.train.model.sampling import draw
from scalesweep.train.probe import answer

TASK = {"source": "facts", "keys": 64, "values": 4, "answer_tokens": 2, "max_bytes": None, "tokenizer": {"kind": "none"}}
SAMPLES = 1000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One cell on facts of two tokens, which knows some of them and others not."""
    settings = small_settings(
        tmp_path_factory.mktemp("facts"),
        sweep={"sizes": [{"width": 16, "depth": 1}], "budgets": [24_576]},
        data={**TASK, "max_tokens": 60_000, "validation_fraction": 0.1},
        train={"keep_weights": True},
    )
    store, corpora = Store(Path(settings.dir)), prepare_corpora(settings, lambda line: None)
    keep_plan(store, plan_sweep(settings, corpora, "cpu"), settings, corpora)
    work(store, CPU, lambda: False)
    return store


@pytest.fixture(scope="module")
def cell(store: Store) -> Cell:
    return store.plan_file.plan().cells[0]


@pytest.fixture(scope="module")
def problems(store: Store) -> ProblemSet:
    return problem_set(store.plan_file.settings().data, 32)


def read(store: Store, cell: Cell) -> Answers:
    answers = read_answers(store.directory, cell.key, "facts")
    assert answers is not None
    return answers


def decoded(model: Model, problems: ProblemSet, choose: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """Whether each answer is right that `choose` makes, token by token, of logits of shape (problems, V)."""
    m = problems.answer_tokens
    tokens = torch.from_numpy(problems.tokens[:, :-m])
    with torch.inference_mode():
        for _ in range(m):
            tokens = torch.cat([tokens, choose(model(tokens[None])[0, :, -1])[:, None]], dim=1)
    return np.asarray((tokens[:, -m:].numpy() == problems.tokens[:, -m:]).all(axis=1))


def test_probabilities_are_those_of_samples(store: Store, cell: Cell, problems: ProblemSet) -> None:
    """1,000 answers to each problem, drawn token by token: right as often as the table says, at k = 1 and at k = 10."""
    answers, model, random = read(store, cell), load_model(cell, store.weights(cell.key)), np.random.default_rng(0)
    right = np.stack(
        [decoded(model, problems, lambda logits: draw(logits, random.random(len(logits)), 1.0)) for _ in range(SAMPLES)]
    )
    p = np.exp(-answers.nll)
    assert 0.1 < p.mean() < 0.9  # neither ignorant nor perfect
    assert np.all(np.abs(right.mean(axis=0) - p) < 4.5 * np.sqrt(p * (1 - p) / SAMPLES) + 1 / SAMPLES)
    exact = answers.pass_at(np.array([1.0, 10.0]))
    assert right.mean() == pytest.approx(exact[0], abs=3 * math.sqrt((p * (1 - p)).sum() / SAMPLES) / len(p))
    ten = right.reshape(-1, 10, len(p)).any(axis=1).mean(axis=1)
    assert ten.mean() == pytest.approx(exact[1], abs=3 * ten.std() / math.sqrt(len(ten)))


def test_greedy_decoding_is_right_where_every_token_is_the_top_one(store: Store, cell: Cell, problems: ProblemSet) -> None:
    right = decoded(load_model(cell, store.weights(cell.key)), problems, lambda logits: logits.argmax(dim=-1))
    assert np.array_equal(right, read(store, cell).is_exact)
    assert 0 < right.sum() < len(right)


def test_answers_within_a_window_are_those_of_each_alone(store: Store, cell: Cell, problems: ProblemSet) -> None:
    """Two problems of facts in one window, asked together, and each with what stands before it."""
    model = load_model(cell, store.weights(cell.key))
    pairs = problems.tokens[:, 4:].reshape(32, 8)
    place = np.arange(64)
    both = dataclasses.replace(problems, tokens=pairs, window=place // 2, start=place % 2 * 4 + 2)
    together = answer(model, both, contextlib.nullcontext)
    for i in range(2):
        alone = dataclasses.replace(
            problems,
            tokens=pairs[:, : 4 * i + 4],
            window=np.arange(32),
            start=np.full(32, 4 * i + 2),
            rank=problems.rank[i::2],
        )
        assert answer(model, alone, contextlib.nullcontext).log_p == pytest.approx(together.log_p[i::2], abs=1e-5)


def test_common_facts_are_known_first(store: Store, cell: Cell) -> None:
    answers = read(store, cell)
    assert np.array_equal(answers.rank, np.arange(1, 65))
    assert answers.nll[:8].mean() < answers.nll[-32:].mean()
    assert answers.chance == 4.0**-2


def test_the_record_holds_the_entropy_that_no_model_ends_below(store: Store, cell: Cell) -> None:
    record = store.record(cell.key)
    assert record is not None
    assert record["entropy"] == pytest.approx(entropy_of(key_probabilities(64, 0.5)) / 4)
    assert record["loss"] > record["entropy"]
    assert record["below_entropy"] == ""


def test_nobody_knows_what_was_never_shown(store: Store, cell: Cell) -> None:
    """Of values that another hash gives, no model's mean log-probability can exceed that of a guess but by chance."""
    spec = store.plan_file.settings().data
    others = [problem_set(spec.model_copy(update={"seed": seed}), 32) for seed in range(1, 9)]
    nll = np.concatenate([answers_of(cell, load_weights(store.weights(cell.key)), one, CPU).nll for one in others])
    assert nll.mean() > 2 * math.log(4) - 3 * nll.std() / math.sqrt(len(nll))


def test_an_untrained_model_guesses(cell: Cell, problems: ProblemSet) -> None:
    weights = {name: torch.zeros(p.shape[1:]) for name, p in build_model([cell]).named_parameters()}
    answers = answers_of(cell, weights, problems, CPU)
    assert answers.nll == pytest.approx(np.full(64, 2 * math.log(cell.shape.vocab_size)))


# -- files --------------------------------------------------------------------------------------------------------------------


def ask(store: Store, cell: Cell) -> list[str]:
    said: list[str] = []
    data: DataSpec = store.plan_file.settings().data
    measure_answers(store, [cell], {cell.corpus_hash: data}, "cpu", said.append)
    return said


def equal(first: Answers, second: Answers) -> bool:
    pairs = zip(dataclasses.astuple(first), dataclasses.astuple(second), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_answers_that_stand_are_not_asked_again(store: Store, cell: Cell) -> None:
    assert ask(store, cell) == []


@pytest.mark.parametrize("file", ["probe-facts.npz", "probe-facts.json"])
def test_damaged_answers_are_set_aside_and_asked_anew(store: Store, cell: Cell, file: str) -> None:
    before, path = read(store, cell), store.cell_dir(cell.key) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert read_answers(store.directory, cell.key, "facts") is None
    assert path.with_suffix(".corrupt").exists()
    assert any("Asking 1 cell" in line for line in ask(store, cell))
    assert equal(read(store, cell), before)


def test_a_kill_between_the_two_files_leaves_no_answers(store: Store, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    before, place = read(store, cell), store.cell_dir(cell.key)
    for path in place.glob("probe-facts.*"):
        path.unlink()

    def killed(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(kept_answers, "write_text", killed)
        ask(store, cell)
    assert (place / "probe-facts.npz").exists()
    assert read_answers(store.directory, cell.key, "facts") is None
    ask(store, cell)
    assert equal(read(store, cell), before)


def test_answers_to_other_problems_are_none(store: Store, cell: Cell, problems: ProblemSet) -> None:
    assert read_answers(store.directory, cell.key, "facts", problems.digest) is not None
    assert read_answers(store.directory, cell.key, "facts", "0" * 16) is None


def test_a_cell_without_weights_is_trained_again_and_answers_the_same(store: Store, cell: Cell) -> None:
    before, record = read(store, cell), store.record(cell.key)
    store.weights(cell.key).rename(aside := store.weights(cell.key).with_suffix(".aside"))
    (store.cell_dir(cell.key) / "probe-facts.json").unlink()
    try:
        assert any("is trained again for its answers" in line for line in ask(store, cell))
        assert equal(read(store, cell), before)  # bit for bit on a CPU
        assert store.record(cell.key) == record
    finally:
        aside.rename(store.weights(cell.key))


@pytest.mark.slow
def test_kills_change_no_answers(tmp_path: Path) -> None:
    """A sweep that is killed four times, from its imports to its last cells, ends with the files of one left alone."""

    def call(name: str) -> subprocess.Popen[bytes]:
        words = ["sweep=smoke", "data=facts", "model.context=30", "data.keys=64", "data.max_tokens=200k", "launcher=inline"]
        words += ["sweep.sizes=[{width: 16, depth: 1}]", "sweep.budgets=[16k,32k,64k]", "train.validation_tokens=3000"]
        words += [f"data.cache={tmp_path / 'cache'}", f"dir={tmp_path / name}", "train.checkpoint_seconds=0.2"]
        with (tmp_path / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "scalesweep", "run", *words]
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    assert call("quiet").wait(timeout=300) == 0, (tmp_path / "quiet.log").read_text()
    chance = random.Random(0)
    for _ in range(4):
        process = call("killed")
        time.sleep(chance.uniform(2.0, 8.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert call("killed").wait(timeout=300) == 0, (tmp_path / "killed.log").read_text()
    quiet, killed = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).glob("cells/*/probe-facts.npz")}
        for name in ("quiet", "killed")
    )
    assert len(quiet) == 3
    assert killed == quiet
