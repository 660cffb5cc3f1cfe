"""TensorBoard: event files in DIR/tensorboard/KEY and DIR/tensorboard/sweep, written by its own writer, which needs no torch.

A log takes the place of an earlier one of the same cell or sweep. Scalars of TensorBoard have single precision; the text
`results` has every value in full.
"""

import html
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from scalesweep.points.points import Points
from scalesweep.run.tracker.base import CellLog, SweepSummary
from scalesweep.settings.run import LoggerSpec

FLUSH_SECONDS = 10
"""Longest time until a point shows."""
_PATTERN = "events.out.tfevents.*"
_COLUMNS = ("key", "n", "d", "c", "loss", "loss_se", "seed", "excluded_reason")
"""What the text of points shows of them; the others are in `scalesweep export`."""


@dataclass(frozen=True)
class _Cell:
    writer: Any

    def log(self, values: Mapping[str, Any], step: int) -> None:
        _add(self.writer, _scalars(values), step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        _add(self.writer, [*_scalars(summary), _text("state", str(summary.get("state")))])
        self.writer.close()


def start(spec: LoggerSpec, directory: Path, group: str, row: Mapping[str, Any], tags: Sequence[str]) -> CellLog:
    """Open the event file of a cell, with its row as hyperparameters."""
    writer = _writer(directory / "tensorboard" / row["key"])
    known = {name: value for name, value in row.items() if isinstance(value, bool | int | float | str)}
    writer.add_event(Event(wall_time=time.time(), summary=hparams_pb({**known, "sweep": group}, trial_id=row["key"])))
    return _Cell(writer)


def log_sweep(spec: LoggerSpec, directory: Path, sweep: SweepSummary) -> None:
    """Write the event file of a sweep: numbers as scalars, laws, settings and points as text, figures as images."""
    values = [
        *_scalars(sweep.values),
        _text("laws", _verbatim(sweep.text)),
        _text("results", _table([("name", "value"), *sweep.values.items()])),
        _text("settings", _table([("key", "value"), *_leaves(sweep.config)])),
        *([_text("points", _table(_rows(sweep.points)))] if sweep.points is not None else []),
        *(_image(f"figures/{path.stem}", path.read_bytes()) for path in sweep.figures),
    ]
    writer = _writer(directory / "tensorboard" / "sweep")
    try:
        for value in values:  # one event each, as an image alone may have a megabyte
            _add(writer, [value])
    finally:
        writer.close()


def _writer(place: Path) -> Any:
    for earlier in place.glob(_PATTERN):
        earlier.unlink()
    return EventFileWriter(str(place), flush_secs=FLUSH_SECONDS)


def _add(writer: Any, values: Sequence[Any], step: int = 0) -> None:
    writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))


def _scalars(values: Mapping[str, Any]) -> list[Any]:
    """Those of the values that are numbers."""
    return [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if isinstance(value, int | float)]


def _text(name: str, markdown: str) -> Any:
    content = make_tensor_proto(np.array([markdown.encode()], dtype=object))
    return Summary.Value(tag=name, tensor=content, metadata=create_summary_metadata(name, ""))


def _image(name: str, png: bytes) -> Any:
    width, height = struct.unpack(">II", png[16:24])  # of the header, which comes first in every PNG file
    return Summary.Value(tag=name, image=Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png))


def _verbatim(text: str) -> str:
    """Markdown that keeps lines and spaces."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _table(rows: Sequence[Sequence[Any]]) -> str:
    """The rows, the first of which is the head, as a Markdown table."""
    lines = [" | ".join(html.escape(str(value)).replace("|", "&#124;") or " " for value in row) for row in rows]
    return "\n".join(f"| {line} |" for line in [lines[0], " | ".join("---" for _ in rows[0]), *lines[1:]])


def _rows(points: Points) -> list[Sequence[Any]]:
    frame = points.frame[[name for name in _COLUMNS if name in points.frame.columns]]
    return [tuple(frame.columns), *(tuple(row) for row in frame.itertuples(index=False))]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Path and value of every setting."""
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return found
