"""A corpus that a trained cell writes: its own training text, and the validation stream of the cell's corpus as it is.

The ids are those of the cell's corpus, whose tokenizer is taken over, so that losses on the validation stream compare. A
stream begins with the first token of a training window, drawn at random: what the cell has seen at the first place. An end of
document would not do: where documents are long it hardly ever stands there, and a cell trained on few tokens has not learnt
what follows. One stream follows another in train.bin, so that the windows of a model of the same context are those that were
sampled (`train.model.sampling`).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scalesweep.arrays import IntArray
from scalesweep.errors import DataError
from scalesweep.files import write_text
from scalesweep.plan.selection import count_windows
from scalesweep.settings.data import DataSpec
from scalesweep.train.data.corpus import Corpus, open_corpus
from scalesweep.train.data.encoding import SAMPLE_TOKENS, decode
from scalesweep.train.data.shelf import FORMAT, link, open_if_usable, publish, scratch_directory, write_arrays
from scalesweep.train.data.sources import digest
from scalesweep.train.data.stated import stated, validation_text
from scalesweep.train.data.teacher import Teacher, open_teacher
from scalesweep.train.data.tokenizer import tokenizer_of
from scalesweep.units import format_count

STREAM_WINDOWS = 64
"""Windows of a stream at least, where there are as many. A judgement: the last target of a stream is the start of the next,
which the cell did not draw, and so 1 target in 64 T is not its own."""
STREAM_NUMBERS, STREAM_LOGITS = 2**27, 2**24
"""Keys and values, and logits, of all streams at once, which bounds the memory: 512 MiB in float32, 128 MiB in float64."""


def prepare_generated(cache: Path, spec: DataSpec, announce: Callable[[str], None]) -> Corpus:
    """The corpus that the cell of `spec` writes, sampled on the first call, on CUDA where there is one.

    Raises:
        DataError: as of `open_teacher`; the weights are damaged.
    """
    teacher = open_teacher(spec)
    settings = (teacher.corpus.hash, teacher.cell.key, teacher.weights_sha256, spec.temperature, spec.seed, spec.max_tokens)
    final = cache / "corpora" / f"generated-{digest(FORMAT, 'generated', *settings)[:16]}"
    if (kept := open_if_usable(final, spec)) is not None:
        return kept
    words = f"cell {teacher.cell.key} of {teacher.sweep} (loss {teacher.loss:.4f})"
    said = f"{words} at temperature {spec.temperature:g}, seed {spec.seed}"
    announce(f"sampling {spec.max_tokens:,} tokens from {said}")
    with scratch_directory(cache) as scratch:
        tokens, device = _sampled(teacher, spec)
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
            "device": device,
        }
        write_text(scratch / "corpus.json", json.dumps(facts, indent=2) + "\n")
        publish(scratch, final, spec)
    return open_corpus(final)


def _sampled(teacher: Teacher, spec: DataSpec) -> tuple[IntArray, str]:
    """Training tokens, shape (data.max_tokens,), and the device that sampled them."""
    import torch  # takes seconds
    from safetensors import SafetensorError

    from scalesweep.train.device import device_name, prepare_device
    from scalesweep.train.model.decoder import Decoder
    from scalesweep.train.model.export import load_model
    from scalesweep.train.model.sampling import sample

    device = prepare_device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model = load_model(teacher.cell, teacher.weights).to(device)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise DataError(f"{teacher.weights} is damaged ({error!r}): train cell {teacher.cell.key} anew.") from None
    assert isinstance(model, Decoder)
    shape = teacher.shape
    windows = -(-spec.max_tokens // shape.context)
    room = min(STREAM_NUMBERS // (2 * shape.depth * shape.width * shape.context), STREAM_LOGITS // shape.vocab_size)
    streams = max(1, min(windows // STREAM_WINDOWS, room))
    starts = _starts(teacher.corpus, shape.context, streams, spec.seed)
    tokens = sample(model, starts, -(-windows // streams), spec.temperature, spec.seed)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # the workers of this sweep need the memory
    return tokens.reshape(-1)[: spec.max_tokens], device_name(device)


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
    ends = 0 if corpus.eod_id is None else int(np.count_nonzero(corpus.validation() == corpus.eod_id))
    return {
        "format": FORMAT,
        "name": f"generated-{teacher.cell.key}-{format_count(spec.max_tokens)}-t{spec.temperature:g}-seed{spec.seed}",
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
