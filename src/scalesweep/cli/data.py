"""The command `data`: prepares a corpus and says what it holds, what was lost on the way, and what the model will read."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from scalesweep.cli.command import Command, Given, flag
from scalesweep.cli.tables import wrapped
from scalesweep.errors import EXIT_OK, DataError
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.data import PLACES, TASKS, DataSpec
from scalesweep.train.data import training_shortage, validation_shortage
from scalesweep.train.data.corpus import Corpus, CorpusPart
from scalesweep.train.data.round_trip import percent
from scalesweep.train.data.stated import validation_text
from scalesweep.train.data.tasks import problem_set
from scalesweep.train.data.validation import ValidationSet, prepare_with_sets
from scalesweep.units import plural

JSON = flag("--json", "Print the facts as JSON.")
_SHOWN_IDS = 24
"""Ids of the training stream that are shown where there is no text."""


def data(given: Given) -> int:
    """Prepare a corpus and say what it holds."""
    settings = compose_settings(given.words)
    to = sys.stderr if given[JSON] else sys.stdout
    corpus, sets = prepare_with_sets(settings.data, lambda line: print(line, file=to, flush=True))
    if given[JSON]:
        print(json.dumps({**as_json(corpus), "sets": {one.name: one.stated() for one in sets}}, indent=1))
    else:
        print("\n".join(_lines(corpus, sets, settings.data)), flush=True)
    wanted, is_capped = settings.train.validation_tokens, settings.data.max_bytes is not None
    if shortage := training_shortage(corpus.train_tokens, settings.model.context, is_capped):
        raise DataError(shortage)
    if shortage := validation_shortage(
        corpus.validation_tokens, wanted, settings.model.context, is_capped, settings.data.own_set
    ):
        print(wrapped(f"warning: {shortage}"), file=sys.stderr, flush=True)
    return EXIT_OK


def as_json(corpus: Corpus) -> dict[str, Any]:
    """The facts of a corpus by the names of its fields."""
    facts = {**dataclasses.asdict(corpus), "directory": str(corpus.directory), "bytes_per_token": corpus.bytes_per_token}
    return {**facts, "account": corpus.account}


def _lines(corpus: Corpus, sets: Sequence[ValidationSet], spec: DataSpec) -> list[str]:
    streams = f"{corpus.train_tokens:,} training and {corpus.validation_tokens:,} validation"
    rows = {
        "tokens": f"{streams}, vocabulary {corpus.vocab_size:,}",
        "bytes per token": f"{corpus.bytes_per_token:.2f}" if corpus.bytes_per_token else "not stated (data.bytes_per_token)",
        **({"sampled from": corpus.sampled_from} if corpus.sampled_from else {}),
        **({} if corpus.eod_id is None or corpus.sampled_from else _of_text(corpus)),
        **({} if corpus.entropy is None else _of_source(corpus)),
        **({"problems": _of_task(spec)} if spec.source in TASKS else {}),
        **{f"part {i}": _of_part(part) for i, part in enumerate(corpus.parts)},
        "sample": repr(corpus.sample) if corpus.sample else f"ids {corpus.train()[:_SHOWN_IDS].tolist()}",
        "held-out text": validation_text(corpus),
        **{
            f"set {one.name}": f"{one.num_tokens:,} tokens, {one.bytes_per_token:.2f} bytes each, text {one.text}"
            for one in sets
        },
        "directory": str(corpus.directory),
    }
    width = max(map(len, rows))
    return [f"{corpus.name} ({corpus.hash})", *(wrapped(f"  {name:{width}}  {value}") for name, value in rows.items())]


def _of_text(corpus: Corpus) -> dict[str, str]:
    reading, trip = corpus.reading, corpus.round_trip
    unknown = "not counted by the version that prepared it"
    rows = reading and f"{reading.rows:,} read, {reading.without_text:,} without text, {reading.unreadable:,} skipped"
    texts = trip and f"{percent(1 - trip.lost)} of {trip.characters:,} characters in {trip.texts} sampled texts come back"
    example = f": {trip.example}" if trip and trip.example else ""
    return {
        "documents": f"{corpus.documents:,}, {corpus.duplicates_removed:,} exact copies left out",
        "characters": f"{reading.characters:,}" if reading else unknown,
        "rows": rows or unknown,
        "round trip": f"{texts}{example}" if texts else unknown,
        "lost": corpus.account or "nothing",
    }


def _of_part(part: CorpusPart) -> str:
    share = f"{part.places / PLACES:.1%} of the windows"
    streams = f"{part.train_tokens:,} training and {part.validation_tokens:,} validation tokens"
    return f"{share}, {streams} of {part.name} ({part.hash})"


def _of_source(corpus: Corpus) -> dict[str, str]:
    return {"entropy": f"{corpus.entropy:.5f} nats per token; a window costs {corpus.window_excess:.5f} nats more"}


def _of_task(spec: DataSpec) -> str:
    problems = problem_set(spec, 2 * (spec.record_tokens or 0))
    return (
        f"{len(problems.window):,} are asked of every cell, each for {plural(problems.answer_tokens, 'token')}, which a guess "
        f"gets with probability {problems.chance:.2g}; model.context must be a multiple of {spec.record_tokens}"
    )


DATA = Command(
    "data",
    about="Prepare a corpus: read, split, tokenize, cache. Says what it holds and what was lost on the way.",
    usage="[FILE.yaml] [data=SOURCE] [data.key=value ...] [--json]",
    run=data,
    examples=(
        "scalesweep data",
        "scalesweep data data=files \"data.paths=['texts/*.txt']\" data.tokenizer.vocab_size=2048",
        "scalesweep data data=files 'data.paths=[a.jsonl.gz]' data.column=doc.text data.max_skipped=0.01",
        "scalesweep data data=hub data.name=roneneldan/TinyStories data.max_bytes=50M",
        "scalesweep data data=facts data.answer_tokens=2",
    ),
    groups=("data",),
    options=(JSON,),
    takes_file=True,
)
COMMANDS = (DATA,)
