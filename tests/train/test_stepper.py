"""Steps on the device against steps from the host; where there is no GPU, without the capture, or with a stand-in for it."""

import contextlib
import dataclasses
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.settings import Settings
from scalesweep.train import capture as captures
from scalesweep.train import resident as residents
from scalesweep.train import stepper
from scalesweep.train.compiler import compiled, parts_of
from scalesweep.train.device import is_device_lost, is_out_of_memory, prepare_device
from scalesweep.train.gradient import Execution, gradient_of
from scalesweep.train.loop import Hooks, train
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.optim import make_optimizer
from scalesweep.train.optim.adamw import StackedAdamW, corrections
from scalesweep.train.optim.custom import OwnOptimizer
from scalesweep.train.optim.groups import group_settings
from scalesweep.train.pack import Outcome, Run
from scalesweep.train.resident import (
    ResidentGradient,
    ResidentStepper,
    resident_tokens,
    resident_type,
    schedule_rows,
    window_starts,
)
from scalesweep.train.schedule import lr_factor
from scalesweep.train.stepper import HostStepper, make_stepper, state_of

CPU = prepare_device("cpu")
STEPS = 40


@pytest.fixture(scope="module")
def cell(settings: Settings, facts: CorpusFacts) -> Cell:
    return dataclasses.replace(make_plan(settings, facts, "cpu").cells[-1], steps=STEPS, warmup_steps=5, decay_steps=8)


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    """Fewer than the steps read, so that an epoch ends on the way."""
    return np.random.default_rng(0).integers(0, 200, 2000).astype(np.uint16)


def pack_of(cell: Cell, runs: int) -> list[Cell]:
    """Runs that differ in all that may differ."""
    return [
        dataclasses.replace(cell, seed=i, hidden_lr=cell.hidden_lr * (1 + i), warmup_steps=5 + i, beta2=0.95 + 0.01 * i)
        for i in range(runs)
    ]


def losses(
    cells: list[Cell], make: Callable[..., Any], optimizer_of: Callable[..., Any] = make_optimizer
) -> tuple[list[list[float]], Decoder]:
    first = cells[0]
    model = Decoder(first.shape, [c.seed for c in cells], first.rope_theta, first.embedding_std)  # type: ignore[arg-type]
    optimizer = optimizer_of(model, cells)
    made = make(model, optimizer, gradient_of(model, cells, Execution(CPU, fast=False)))
    found = []
    for step in range(STEPS):
        made.loss_sum_R.zero_()
        made.advance(step)
        found.append([*made.loss_sum_R.tolist(), *made.norms_R.tolist()])
    return found, model


MUON = {"optimizer": "muon", "momentum": 0.9, "z_loss": 1e-3}


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize(("chunk", "change"), [(7, {}), (256, {}), (256, MUON)])
def test_a_step_on_the_device_is_one_from_the_host(
    cell: Cell, tokens: np.ndarray, runs: int, chunk: int, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residents, "CHUNK_STEPS", chunk)
    cells = [dataclasses.replace(c, **change) for c in pack_of(cell, runs)]
    host, expected = losses(cells, lambda _, o, g: HostStepper(o, cells, tokens, g, CPU))
    resident, found = losses(cells, lambda _, o, g: ResidentStepper(o, cells, tokens, g, CPU, 0))
    assert np.array(resident) == pytest.approx(np.array(host), rel=2e-4)
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5)


def test_a_window_that_a_transform_made_is_that_of_the_host(cell: Cell, tokens: np.ndarray) -> None:
    from scalesweep.plan.selection import Selection, Transform
    from scalesweep.train.data import batch, windows_of_cell

    cell = dataclasses.replace(cell, selection=Selection(40, 0, Transform("junk_uniform", 0.5, 0)))
    T, B, windows = cell.shape.context, cell.batch_sequences, windows_of_cell(cell, len(tokens))
    starts = window_starts([cell], windows, 3, 4)[:, 0]
    stream = resident_tokens(tokens, windows.added, CPU, resident_type(cell.shape.vocab_size)).numpy()
    assert (starts >= len(tokens)).any()
    for i in range(4):
        host = batch(tokens, seed=cell.seed, step=3 + i, sequences=B, context=T, windows=windows)
        assert np.array_equal(stream[starts[i][:, None] + np.arange(T + 1)], host)


@pytest.mark.parametrize("runs", [1, 2])
def test_of_a_corpus_that_does_not_fit_the_windows_are_uploaded(
    cell: Cell, tokens: np.ndarray, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scalesweep.plan.selection import Selection, Transform

    selection = Selection(40, 0, Transform("junk_uniform", 0.5, 0))
    cells = [dataclasses.replace(c, selection=selection) for c in pack_of(cell, runs)]
    host, _ = losses(cells, lambda _, o, g: HostStepper(o, cells, tokens, g, CPU))
    of_step = 2 * runs * cell.batch_sequences * (cell.shape.context + 1)
    monkeypatch.setattr(residents, "fits", lambda *_: False)
    monkeypatch.setattr(residents, "CHUNK_BYTES", 7 * of_step + 1)
    found, _ = losses(cells, lambda _, o, g: ResidentStepper(o, cells, tokens, g, CPU, 0))
    assert np.array(found) == pytest.approx(np.array(host), rel=2e-4)


@pytest.mark.parametrize("vocab_size", [2**15, 2**15 + 1, 2**17])
def test_the_largest_id_of_a_vocabulary_is_on_the_device_as_it_was(vocab_size: int) -> None:
    tokens = np.array([0, vocab_size - 1], dtype=np.uint32)
    for added in (None, tokens[::-1].copy()):
        stream = resident_tokens(tokens, added, CPU, resident_type(vocab_size)).long().tolist()
        assert stream == [0, vocab_size - 1] + ([] if added is None else [vocab_size - 1, 0])


def test_windows_and_learning_rates_are_those_of_the_host(cell: Cell, tokens: np.ndarray) -> None:
    from scalesweep.train.data import batch, windows_of_cell

    cells = pack_of(cell, 2)
    T, B = cell.shape.context, cell.batch_sequences
    starts = window_starts(cells, windows_of_cell(cell, len(tokens)), 11, 5)
    rows = schedule_rows(cells, 11, 5)
    assert starts.shape == (5, 2, B)
    assert rows.shape == (5, 3, 2, 1)
    for i in range(5):
        for r, c in enumerate(cells):
            windows = tokens[starts[i, r][:, None] + np.arange(T + 1)]
            assert np.array_equal(windows, batch(tokens, seed=c.seed, step=11 + i, sequences=B, context=T))
            assert rows[i, 0, r, 0] == pytest.approx(lr_factor(11 + i, c))
            assert rows[i, 1, r, 0] == pytest.approx(1 / (1 - c.beta1 ** (12 + i)))
            assert rows[i, 2, r, 0] == pytest.approx((1 - c.beta2 ** (12 + i)) ** -0.5)


def test_corrections_of_one_step_and_of_many_agree() -> None:
    betas = np.array([[0.9, 0.95], [0.8, 0.99]])
    many = corrections(betas, np.array([1, 5]))
    assert np.allclose([corrections(betas, 1), corrections(betas, 5)], np.swapaxes(many, 0, 1))


# -- the capture ------------------------------------------------------------------------------------------------------------


class Graph:
    """Runs what was run while it was captured, when replayed; a real graph does so on a GPU."""

    spoil = 1.0

    def replay(self) -> None:
        with torch.enable_grad():
            assert self.body is not None
            self.body()
            self.stepper.loss_sum_R.mul_(self.spoil)

    body: Callable[[], None] | None = None
    stepper: Any = None


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Graph]]:
    @contextlib.contextmanager
    def capture(graph: Graph, stream: object) -> Iterator[None]:
        """As in torch, what is called here is recorded and not run: the stand-in undoes it."""
        made = Graph.stepper
        kept = [(t, t.clone()) for t in [*made.state, made.loss_sum_R, made.norms_R, made.position]]
        yield
        for tensor, value in kept:
            tensor.data.copy_(value)
        graph.body = made.body

    class Stream:
        def __init__(self, device: object = None) -> None: ...

        def wait_stream(self, _: object) -> None: ...

    class Event:
        def __init__(self, enable_timing: bool = False) -> None: ...

        def synchronize(self) -> None: ...

        def record(self) -> None: ...

        def elapsed_time(self, _: object) -> float:
            return 1.0

    captures.side_stream.cache_clear()

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda _: None)
    yield Graph
    captures.side_stream.cache_clear()


@pytest.mark.parametrize("runs", [1, 2])
def test_a_captured_step_leaves_everything_as_it_was_and_is_compared(
    cell: Cell, tokens: np.ndarray, runs: int, graphs: type[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = pack_of(cell, runs)

    def captured(model: Decoder, optimizer: Any, gradient: Any) -> ResidentStepper:
        made: Any = ResidentStepper(optimizer, cells, tokens, gradient, CPU, 0)
        made.state, Graph.stepper = state_of(model, optimizer), made
        before = [t.clone() for t in made.state]
        made.capture(made.state)
        assert all(torch.equal(a, b) for a, b in zip(before, made.state, strict=True))
        return made  # type: ignore[no-any-return]

    host, _ = losses(cells, lambda _, o, g: HostStepper(o, cells, tokens, g, CPU))
    found, _ = losses(cells, captured)
    assert np.array(found) == pytest.approx(np.array(host), rel=2e-4)
    monkeypatch.setattr(Graph, "spoil", 1.01)
    with pytest.raises(RuntimeError, match="the captured step has losses"):
        losses(cells, captured)


@pytest.mark.parametrize("is_captured", [False, True])
def test_a_stepper_that_is_done_is_gone_at_once(
    cell: Cell, tokens: np.ndarray, graphs: type[Graph], monkeypatch: pytest.MonkeyPatch, is_captured: bool
) -> None:
    """Whatever refers to itself stays until Python looks for such circles, and a GPU is full by then."""
    model = Decoder(cell.shape, [0], 10000.0, 1.0)  # type: ignore[arg-type]
    optimizer: Any = make_optimizer(model, [cell])
    made: Any = ResidentStepper(optimizer, [cell], tokens, gradient_of(model, [cell], Execution(CPU)), CPU, 0)
    if is_captured:
        made.state = state_of(model, optimizer)
        monkeypatch.setattr(graphs, "stepper", made)
        made.capture(made.state)
        monkeypatch.undo()
    made.release()
    left = weakref.ref(made)
    gc.disable()
    try:
        del made
        assert left() is None
    finally:
        gc.enable()


def test_a_class_of_one_s_own_steps_by_captured_gradients(
    cell: Cell, tokens: np.ndarray, graphs: type[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    def own(model: Decoder, cells: list[Cell]) -> OwnOptimizer:
        return OwnOptimizer(model, torch.optim.AdamW, {}, group_settings(cell), (cell.beta1, cell.beta2), cell.grad_clip)

    def captured(model: Decoder, optimizer: Any, gradient: Any) -> ResidentGradient:
        made: Any = ResidentGradient(optimizer, [cell], tokens, gradient, CPU, 0)
        made.state, Graph.stepper = state_of(model, optimizer), made
        made.capture(made.state)
        return made  # type: ignore[no-any-return]

    class Turned(Graph):
        def replay(self) -> None:
            super().replay()
            for gradient in self.stepper._gradients.values():
                gradient.neg_()

    host, expected = losses([cell], lambda _, o, g: HostStepper(o, [cell], tokens, g, CPU), own)
    found, model = losses([cell], captured, own)
    assert found == host
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Turned)
    with pytest.raises(RuntimeError, match="the captured step moves the weights"):
        losses([cell], captured, own)


def test_whoever_asks_for_plain_steps_reads_that_they_are_slower(
    cell: Cell, tokens: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepper, "has_graphs", lambda *_: True)
    model, notes = Decoder(cell.shape, [0], 10000.0, 1.0), list[str]()  # type: ignore[arg-type]
    made = make_stepper(model, make_optimizer(model, [cell]), [cell], tokens, Execution(CPU, fast=False), 0, notes.append)
    assert isinstance(made, HostStepper)
    assert notes == ["without a CUDA graph, which is slower (train.fast=false)"]


def test_what_cannot_be_captured_is_stepped_from_the_host_with_a_note(
    cell: Cell, tokens: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(stepper, "has_graphs", lambda *_: True)
    monkeypatch.setattr(ResidentStepper, "capture", refuse)
    model = Decoder(cell.shape, [0], 10000.0, 1.0)  # type: ignore[arg-type]
    notes: list[str] = []
    made = make_stepper(model, make_optimizer(model, [cell]), [cell], tokens, Execution(CPU), 0, notes.append)
    assert isinstance(made, HostStepper)
    assert notes == ["without a CUDA graph, which is slower (operation not permitted when stream is capturing)"]


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("fails_at", [1, 2, 4, 5])
def test_a_capture_that_fails_leaves_nothing_behind(
    cell: Cell, tokens: np.ndarray, runs: int, fails_at: int, graphs: type[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a step before the capture, at one that has changed the parameters, and inside the capture, after the gradients."""
    monkeypatch.setattr(stepper, "has_graphs", lambda *_: True)
    cells, calls, notes = pack_of(cell, runs), 0, list[str]()

    def made(model: Decoder, optimizer: Any, _: Any) -> Any:
        def spoiled(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            gradient = gradient_of(*arguments)

            def call(windows: torch.Tensor) -> torch.Tensor:
                nonlocal calls
                found = gradient(windows)
                calls += 1
                if calls == 1 + fails_at:
                    raise RuntimeError
                return found

            return call

        monkeypatch.setattr(stepper, "gradient_of", spoiled)
        monkeypatch.setattr(Graph, "stepper", None)
        original = ResidentStepper.capture

        def capture(self: Any, state: list[torch.Tensor]) -> None:
            self.state, Graph.stepper = state, self
            original(self, state)

        with monkeypatch.context() as patch:
            patch.setattr(ResidentStepper, "capture", capture)
            return make_stepper(model, optimizer, cells, tokens, Execution(CPU, fast=True), 0, notes.append)

    monkeypatch.setattr("scalesweep.train.gradient.can_record", lambda *_: False)
    host, _ = losses(cells, lambda _, o, g: HostStepper(o, cells, tokens, g, CPU))
    found, _ = losses(cells, made)
    assert notes == ["without a CUDA graph, which is slower (RuntimeError())"]
    assert np.array(found) == pytest.approx(np.array(host), rel=1e-6)


def test_errors_of_memory_and_of_the_device_are_told_apart() -> None:
    lost = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    assert is_device_lost(lost)
    assert not is_out_of_memory(lost)
    for words in ("CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"):
        assert is_out_of_memory(RuntimeError(words))
        assert not is_device_lost(torch.AcceleratorError(words))
    assert not is_device_lost(RuntimeError("shapes differ"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler's own parts
def test_a_compiled_layer_has_the_losses_of_one_that_is_not_for_every_batch(cell: Cell) -> None:
    from torch._dynamo.utils import counters

    windows = torch.randint(0, 200, (1, cell.batch_sequences, cell.shape.context + 1))
    model = Decoder(cell.shape, [0], 10000.0, 1.0)  # type: ignore[arg-type]
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    plain = model.losses(windows).mean()
    (expected,) = torch.autograd.grad(plain, [model.embedding])
    with compiled(model.parts()):
        assert model.layers[0]._compiled_call_impl is not None
        made = model.losses(windows).mean()
        (found,) = torch.autograd.grad(made, [model.embedding])
        graphs = counters["stats"]["unique_graphs"]
        for sequences in (cell.batch_sequences + 1, 3):
            of_other_batch = model.losses(windows[:, :1].expand(-1, sequences, -1))
            assert of_other_batch.shape == (1, sequences)
            of_other_batch.sum().backward()
        assert counters["stats"]["unique_graphs"] == graphs
    assert made.item() == pytest.approx(plain.item(), rel=1e-5)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-7)
    assert model.layers[0]._compiled_call_impl is None
    assert model.losses(windows).mean().item() == plain.item()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler's own parts
def test_a_packs_compiled_optimizer_takes_the_steps_of_one_that_is_not(cell: Cell) -> None:
    from torch._dynamo.utils import counters

    def moved(is_compiled: bool) -> tuple[dict[str, torch.Tensor], dict[str, tuple[torch.Tensor, ...]], list[torch.Tensor]]:
        cells = pack_of(cell, 3)
        model = Decoder(cell.shape, [c.seed for c in cells], 10000.0, 1.0)  # type: ignore[arg-type]
        optimizer, random = make_optimizer(model, cells), torch.Generator().manual_seed(0)
        assert isinstance(optimizer, StackedAdamW)
        norms = []
        for step in range(4):
            for p in model.parameters():
                p.grad = torch.randn(p.shape, generator=random)
            with compiled(parts_of(model, optimizer)) if is_compiled else contextlib.nullcontext():
                norms.append(optimizer.step([lr_factor(step, c) for c in cells]))
        return dict(model.named_parameters()), optimizer.moments(), norms

    (weights, moments, norms), graphs = moved(False), counters["stats"]["unique_graphs"]
    found_weights, found_moments, found_norms = moved(True)
    assert counters["stats"]["unique_graphs"] == graphs + 2, "one with a decay, one without, whatever the number of parameters"
    torch.testing.assert_close(found_weights, weights, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found_moments, moments, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(found_norms, norms, rtol=1e-6, atol=0.0)


@pytest.mark.gpu
@pytest.mark.parametrize("runs", [1, 4])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("change", [{}, MUON])
def test_on_a_gpu_the_graph_has_the_losses_of_the_host(
    cell: Cell, tokens: np.ndarray, runs: int, precision: Any, change: dict[str, Any]
) -> None:
    cells = [dataclasses.replace(c, precision=precision, **change) for c in pack_of(cell, runs)]
    device = prepare_device("cuda")

    def measured(fast: bool) -> list[Outcome]:
        notes: list[str] = []
        execution = Execution(device, curve_points=100, fast=fast, compiles=False)
        found = train([Run(c) for c in cells], tokens, tokens, execution, Hooks(on_note=notes.append))
        assert any("slower" in note for note in notes) == (not fast)
        return found

    tolerance = 1e-3 if precision == "float32" else 2e-2
    for fast, plain in zip(measured(True), measured(False), strict=True):
        assert [p["loss"] for p in fast.curve] == pytest.approx([p["loss"] for p in plain.curve], rel=tolerance)
        assert fast.loss == pytest.approx(plain.loss, rel=tolerance)


@pytest.mark.gpu
def test_on_a_gpu_a_resumed_run_goes_on_in_the_middle(cell: Cell, tokens: np.ndarray) -> None:
    left: list[Any] = []
    hooks = Hooks(on_snapshot=lambda _, state: left.append(state))
    execution, notes = Execution(prepare_device("cuda"), curve_points=100, compiles=False), list[str]()
    (whole,) = train([Run(cell, snapshots=frozenset({17}))], tokens, tokens, execution, hooks)
    start = dataclasses.replace(left[0], key=cell.key)
    (resumed,) = train([Run(cell, start)], tokens, tokens, execution, Hooks(on_note=notes.append))
    assert not any("slower" in note for note in notes)
    assert resumed.loss == pytest.approx(whole.loss, rel=1e-3)
