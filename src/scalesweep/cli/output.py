"""Output that nobody may read any more, or that has not every character."""

import codecs
import contextlib
import io
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", strict=True))
_IN_ASCII = {
    **dict(zip("±×÷·–—−│•●◦√", ["+-", "x", "/", "*", "-", "-", "-", "|", "*", "*", "o", "sqrt "], strict=True)),
    "✓": "+",
    "✗": "x",
    **dict(zip("≤≥≈∝∞αβκΔ…", ["<=", ">=", "~", "~", "inf", "alpha", "beta", "kappa", "D", "..."], strict=True)),
    **{chr(line): "+" for line in range(0x2500, 0x2580)},
    "─": "-",
    "│": "|",
    **{chr(dots): "." for dots in range(0x2801, 0x2900)},  # braille, of which charts are made
    "\u2800": " ",
}
"""What stands for a character on a terminal that does not have it; a question mark for any other."""


def spell_out() -> None:
    """Let standard output and error spell out what their encoding lacks, such as ± in ASCII, instead of raising."""
    codecs.register_error("spelled", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="spelled")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    text = re.sub(f"[{''.join(_RAISED)}]+", lambda power: "^" + "".join(map(_RAISED.__getitem__, power[0])), text)
    return "".join(letter if letter.isascii() else _IN_ASCII.get(letter, "?") for letter in text), error.end


class _Forgiving(io.FileIO):
    """A file whose refusals are silence: the pipe has no reader, the terminal is gone, the disk of a log is full."""

    def write(self, data: Any, /) -> int:
        """All of the data is taken, whether it can be written or not."""
        with contextlib.suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


@contextlib.contextmanager
def forgiving_output() -> Iterator[None]:
    """Let the block go on to its end, in silence, where what it prints cannot be written, as behind `| head`."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_forgiving(stream) for stream in streams)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = streams


class _Copying(io.TextIOBase):
    """A stream that also keeps what it writes."""

    def __init__(self, stream: TextIO) -> None:
        self.kept = io.StringIO()
        self._stream = stream

    def write(self, text: str, /) -> int:
        self.kept.write(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding


@contextlib.contextmanager
def copied_output() -> Iterator[io.StringIO]:
    """Keep a copy of what the block prints to standard output."""
    stream = sys.stdout
    copying = _Copying(stream)
    sys.stdout = copying
    try:
        yield copying.kept
    finally:
        sys.stdout = stream


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal, in one line that goes away again, what the block is at and for how long."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as line:
        line.add_task(what, total=None)
        yield


def look() -> str:
    """What decides how text is set on standard output: the same text looks the same where this is equal."""
    from rich.console import Console

    console = Console()
    return f"{sys.stdout.isatty()} {console.width} {console.color_system} {sys.stdout.encoding}"


def _forgiving(stream: TextIO) -> TextIO:
    """The stream with the same file behind it; itself where there is none, as in a notebook."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        file = io.BufferedWriter(_Forgiving(stream.fileno(), "wb", closefd=False))
    except OSError:
        return stream
    # A stream without a buffer (PYTHONUNBUFFERED) gets one here, which is then emptied at each line.
    lines = stream.line_buffering or stream.write_through
    return io.TextIOWrapper(file, stream.encoding, stream.errors, line_buffering=lines, write_through=stream.write_through)
