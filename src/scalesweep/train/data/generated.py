"""A corpus that trained cells write: their own training text, and the validation stream of the cell's corpus as it is.

The ids are those of the cell's corpus, whose tokenizer is taken over, so that losses on the validation stream compare. A
stream begins with the first token of a training window, drawn at random: what the cell has seen at the first place. An end of
document would not do: where documents are long it hardly ever stands there, and a cell trained on few tokens has not learnt
what follows. One stream follows another in train.bin, so that the windows of a model of the same context are those that were
sampled (`train.model.sampling`). Of records (data=facts, data=copy) every window is a stream of its own: a token too many would
put all records behind it out of step (two thirds of them in streams of 64 windows), as no training text is.

Cells of several generations may write it together with the text that the first was trained on (`data.accumulate`), in equal
shares (Gerstgrasser et al. 2024, arXiv 2404.01413), so that the number of tokens stays what it is; and records may be held
against the table of facts (`data.verified`).
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalesweep.arrays import IntArray
from scalesweep.errors import DataError
from scalesweep.files import write_text
from scalesweep.plan.selection import count_windows
from scalesweep.settings.data import DataSpec
from scalesweep.train.data.batches import batch
from scalesweep.train.data.corpus import Corpus, open_corpus
from scalesweep.train.data.encoding import SAMPLE_TOKENS, decode
from scalesweep.train.data.shelf import FORMAT, link, open_if_usable, publish, scratch_directory, write_arrays
from scalesweep.train.data.sources import digest
from scalesweep.train.data.stated import stated, task_of, validation_text
from scalesweep.train.data.tasks import are_right
from scalesweep.train.data.teacher import Teacher, open_teacher
from scalesweep.train.data.tokenizer import tokenizer_of
from scalesweep.train.data.windows import windows_of_cell
from scalesweep.units import format_count

if TYPE_CHECKING:
    import torch

    from scalesweep.train.model.decoder import Decoder

STREAM_WINDOWS = 64
"""Windows of a stream at least, where there are as many. A judgement: the last target of a stream is the start of the next,
which the cell did not draw, and so 1 target in 64 T is not its own."""
STREAM_NUMBERS, STREAM_LOGITS = 2**27, 2**24
"""Keys and values, and logits, of all streams at once, which bounds the memory: 512 MiB in float32, 128 MiB in float64."""


MOST_SAMPLED = 20
"""One right record in so many is asked of a cell whose right ones are kept. A judgement: with fewer it knows next to none."""


def prepare_generated(cache: Path, spec: DataSpec, announce: Callable[[str], None]) -> Corpus:
    """The corpus that the cells of `spec` write, sampled on the first call, on CUDA where there is one.

    Raises:
        DataError: as of `open_teacher`; the weights are damaged, the cells were validated on different streams, or hardly a
            record is right.
    """
    teachers = [open_teacher(spec.model_copy(update={"cell": key})) for key in spec.accumulate or (spec.cell,)]
    teacher, task = teachers[-1], _task(teachers, spec)
    settings = [teacher.corpus.hash, teacher.cell.key, teacher.weights_sha256, spec.temperature, spec.seed, spec.max_tokens]
    if spec.accumulate or spec.verified:
        settings += [spec.verified, [[one.corpus.hash, one.cell.key, one.weights_sha256] for one in teachers]]
    if task is not None:
        settings += ["windows"]  # and no streams of many
    final = cache / "corpora" / f"generated-{digest(FORMAT, 'generated', *settings)[:16]}"
    if (kept := open_if_usable(final, spec)) is not None:
        return kept
    cells = ", ".join(one.cell.key for one in teachers)
    words = f"cell{'s' if len(teachers) > 1 else ''} {cells} of {teacher.sweep} (loss {teacher.loss:.4f})"
    said = f"{words} at temperature {spec.temperature:g}, seed {spec.seed}"
    announce(f"sampling {spec.max_tokens:,} tokens from {said}")
    with scratch_directory(cache) as scratch:
        tokens, stated_teacher = _pooled(teachers, spec, task)
        facts = {**_write(scratch, teacher, tokens, spec), "sampled_from": said}
        facts["teacher"] = {
            "sweep": str(teacher.sweep),
            "cell": teacher.cell.key,
            "loss": teacher.loss,
            "weights_sha256": teacher.weights_sha256,
            "corpus": teacher.corpus.name,
            "corpus_hash": teacher.corpus.hash,
            "temperature": spec.temperature,
            "seed": spec.seed,
            **stated_teacher,
        }
        if task is not None:
            facts["task"] = task.model_dump(mode="json", exclude={"cache"})
        write_text(scratch / "corpus.json", json.dumps(facts, indent=2) + "\n")
        publish(scratch, final, spec)
    return open_corpus(final)


def _task(teachers: Sequence[Teacher], spec: DataSpec) -> DataSpec | None:
    """The source whose problems all the cells learnt; None where there are none.

    Raises:
        DataError: the cells were validated on different streams, or records are to be verified and the first text has none.
    """
    if len({stated(one.corpus)["sha256"]["validation"] for one in teachers}) > 1:
        raise DataError("the cells of data.accumulate were validated on different streams: give generations of one text.")
    task = task_of(teachers[-1].corpus)
    if spec.verified and (task is None or task.source != "facts"):
        raise DataError(
            f"data.verified: the text of {teachers[-1].corpus.name} is not of data=facts, so nothing tells what is right."
        )
    return task


def _pooled(teachers: Sequence[Teacher], spec: DataSpec, task: DataSpec | None) -> tuple[IntArray, dict[str, Any]]:
    """Training tokens, shape (data.max_tokens,), and what corpus.json says of how they came about."""
    import torch  # takes seconds

    from scalesweep.train.device import device_name, prepare_device

    device = prepare_device("cuda" if torch.cuda.is_available() else "cpu")
    said: dict[str, Any] = {"device": device_name(device)}
    context = teachers[-1].shape.context
    windows, parts = -(-spec.max_tokens // context), len(teachers) + bool(spec.accumulate)
    shares = [((i + 1) * windows // parts - i * windows // parts) * context for i in range(parts)]
    texts = [_trained_on(teachers[0], shares.pop(0))] if spec.accumulate else []
    for one, share in zip(teachers, shares, strict=True):
        tokens, right = _sampled(one, spec, task, share, device)
        texts.append(tokens)
        said |= right  # of the last
    if device.type == "cuda":
        torch.cuda.empty_cache()  # the workers of this sweep need the memory
    if spec.accumulate:
        said["accumulated"] = [one.cell.key for one in teachers]
    return np.concatenate(texts)[: spec.max_tokens], said


def _trained_on(teacher: Teacher, num_tokens: int) -> IntArray:
    """The first tokens that the cell visited in its training, whose order is random; shape (num_tokens,)."""
    stream, cell, context = teacher.corpus.train(), teacher.cell, teacher.shape.context
    windows = windows_of_cell(cell, len(stream))
    number = -(-num_tokens // context)
    rows = batch(stream, seed=cell.seed, step=0, sequences=number, context=context, windows=windows)
    return rows[:, :-1].reshape(-1)[:num_tokens]


def _sampled(
    teacher: Teacher, spec: DataSpec, task: DataSpec | None, num_tokens: int, device: "torch.device"
) -> tuple[IntArray, dict[str, float]]:
    """Tokens that the cell writes, shape (num_tokens,); of facts, also the share of its records that are right."""
    model, context = _load(teacher, device), teacher.shape.context
    record = task.record_tokens if task is not None and task.source == "facts" else None
    kept: list[IntArray] = []
    found = written = right = 0
    while found < num_tokens:
        seed = int(np.random.SeedSequence([spec.seed, len(kept)]).generate_state(1)[0]) if kept else spec.seed
        tokens = _streams(model, teacher, spec, -(-(num_tokens - found) // context), seed, task is not None)
        if task is not None and record:
            rows = tokens.reshape(-1, record)
            is_right = are_right(rows, task)
            written, right = written + len(rows), right + int(is_right.sum())
            tokens = rows[is_right].reshape(-1) if spec.verified else tokens
        kept.append(tokens)
        found += len(tokens)
        if spec.verified and found < num_tokens and right * MOST_SAMPLED < written:
            raise DataError(
                f"of the {written:,} records that cell {teacher.cell.key} wrote {right:,} are right, too few to be kept alone: "
                "choose a cell that was trained for longer, or data.verified=false."
            )
    return np.concatenate(kept)[:num_tokens], {"right_records": right / written} if written else {}


def _load(teacher: Teacher, device: "torch.device") -> "Decoder":
    """The cell's model with its kept weights."""
    from safetensors import SafetensorError

    from scalesweep.train.model.decoder import Decoder
    from scalesweep.train.model.export import load_model

    try:
        model = load_model(teacher.cell, teacher.weights).to(device)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise DataError(f"{teacher.weights} is damaged ({error!r}): train cell {teacher.cell.key} anew.") from None
    assert isinstance(model, Decoder)
    return model


def _streams(model: "Decoder", teacher: Teacher, spec: DataSpec, windows: int, seed: int, has_records: bool) -> IntArray:
    """Streams end to end, of so many windows in all, or of fewer with records, where the memory has no room for more."""
    from scalesweep.train.model.sampling import sample

    shape = teacher.shape
    room = min(STREAM_NUMBERS // (2 * shape.depth * shape.width * shape.context), STREAM_LOGITS // shape.vocab_size)
    streams = max(1, min(windows if has_records else windows // STREAM_WINDOWS, room))
    starts = _starts(teacher.corpus, shape.context, streams, seed)
    return sample(model, starts, 1 if has_records else -(-windows // streams), spec.temperature, seed).reshape(-1)


def _starts(corpus: Corpus, context: int, streams: int, seed: int) -> IntArray:
    """First token of each stream: those of windows of the training stream."""
    # Of a generator apart from that of the tokens, which has the seed alone.
    chosen = np.random.Generator(np.random.PCG64([seed, 1])).integers(0, count_windows(corpus.train_tokens, context), streams)
    return np.asarray(corpus.train()[chosen * context], dtype=np.int64)


def _write(scratch: Path, teacher: Teacher, tokens: IntArray, spec: DataSpec) -> dict[str, Any]:
    """Write the training stream and take over the rest; what corpus.json says of them."""
    corpus, facts = teacher.corpus, stated(teacher.corpus)
    written = write_arrays([tokens], scratch / "train.bin", corpus.vocab_size, (corpus.eod_id,))
    for file in [corpus.directory / "validation.bin", *corpus.directory.glob("tokenizer.*")]:
        link(file, scratch / file.name)
    kept = {name: facts["sha256"][name] for name in ("validation", "tokenizer") if name in facts["sha256"]}
    how = "-accumulated" * bool(spec.accumulate) + "-verified" * spec.verified
    ends = 0 if corpus.eod_id is None else int(np.count_nonzero(corpus.validation() == corpus.eod_id))
    return {
        "format": FORMAT,
        "name": f"generated-{teacher.cell.key}{how}-{format_count(spec.max_tokens)}-t{spec.temperature:g}-seed{spec.seed}",
        "hash": digest(written.sha256, kept["validation"], kept.get("tokenizer", f"tokens-{corpus.vocab_size}"))[:16],
        "dtype": corpus.dtype,
        "vocab_size": corpus.vocab_size,
        "eod_id": corpus.eod_id,
        "train_tokens": written.tokens,
        "validation_tokens": corpus.validation_tokens,
        "train_bytes": 0,
        "validation_bytes": corpus.validation_bytes,
        "documents": written.counted[0] + ends,
        "duplicates_removed": 0,
        "sample": decode(tokenizer_of(corpus), tokens[:SAMPLE_TOKENS]) if corpus.eod_id is not None else "",
        "entropy": corpus.entropy,
        "window_excess": corpus.window_excess,
        "origin": f"sampled from a cell trained on {corpus.name}",
        "split": {"rule": f"sampled training text; the validation stream of {corpus.name} ({corpus.hash})"},
        "validation_text": validation_text(corpus),
        "sha256": {"train": written.sha256, **kept},
        # The tokenizer is opened by what its corpus states of it.
        "spec": {**spec.model_dump(mode="json", exclude={"cache"}), "tokenizer": facts.get("spec", {}).get("tokenizer")},
    }
