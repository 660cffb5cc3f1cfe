"""Output that nobody may read any more."""

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import Any, TextIO


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


def _forgiving(stream: TextIO) -> TextIO:
    """The stream with the same file behind it; itself where there is none, as in a notebook."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        file = io.BufferedWriter(_Forgiving(stream.fileno(), "wb", closefd=False))
    except OSError:
        return stream
    lines, at_once = stream.line_buffering, stream.write_through
    return io.TextIOWrapper(file, stream.encoding, stream.errors, line_buffering=lines, write_through=at_once)
