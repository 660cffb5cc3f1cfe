"""Pictures of charts as files, drawn once for the same numbers, and by two processes where there are cores for two.

Drawing is most of what a report waits for, and matplotlib draws on one core. So another process draws the same pictures from
the last one on and keeps each in the user's cache, where the first, which comes from the other end, finds it. What the other
does not get done, or cannot do, the first draws as if it were alone.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

from scalesweep.cores import num_cores
from scalesweep.kept import Unkept, decode, encode, is_kept, recall
from scalesweep.report.charts.canvas import draw
from scalesweep.report.charts.chart import Chart

_FEWEST = 4
"""Pictures for which another process is started: it takes as long as two or three of them to start."""


def picture(chart: Chart, kind: str) -> bytes:
    """The chart as a file of this kind, from an earlier call of any process where one is kept."""
    return recall("figure", _parts(chart, kind), lambda: draw(chart, kinds=[kind])[kind])


@contextlib.contextmanager
def drawing_ahead(wanted: Sequence[tuple[Chart, str]]) -> Iterator[None]:
    """While this lasts, another process draws these charts as these kinds of files, the last one first."""
    lacking = [(chart, kind) for chart, kind in wanted if not is_kept("figure", _parts(chart, kind))]
    if len(lacking) < _FEWEST or num_cores() < 2 or not sys.executable:
        yield
        return
    process = _start(lacking)
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def _start(lacking: Sequence[tuple[Chart, str]]) -> "subprocess.Popen[bytes] | None":
    """The other process; None where there can be none."""
    command = [sys.executable, "-P", "-m", "scalesweep.report.charts.pictures"]
    with contextlib.suppress(OSError, Unkept), tempfile.TemporaryFile() as file:
        file.write(encode(lacking))
        file.seek(0)
        return subprocess.Popen(command, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return None


def _parts(chart: Chart, kind: str) -> dict[str, object]:
    return {"chart": chart, "kind": kind}


if __name__ == "__main__":
    for chart, kind in reversed(decode(sys.stdin.buffer.read())):
        picture(chart, kind)
        if not is_kept("figure", _parts(chart, kind)):
            break  # nobody would find it
