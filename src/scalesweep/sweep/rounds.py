"""rounds.json beside sweep.json: what an adaptive sweep was asked for, and what it has chosen and predicted."""

from collections.abc import Sequence
from pathlib import Path

from scalesweep.analysis.forecast.exponent_cells import Place
from scalesweep.analysis.forecast.next_cells import NextCell
from scalesweep.analysis.forecast.rounds import Log, free_seeds
from scalesweep.errors import StoreError
from scalesweep.files import plain_storage_errors, read_json, sealed, write_text
from scalesweep.points.points import Points
from scalesweep.run.store.store import Store
from scalesweep.settings.again import overrides_of
from scalesweep.settings.plan import FurtherCell
from scalesweep.settings.settings import Settings

SCHEMA = 1
"""Of rounds.json; raised when a field changes its meaning or goes."""


def with_rounds(settings: Settings, log: Log | None) -> Settings:
    """The settings with the cells of the log's rounds beside those that they have already."""
    if log is None:
        return settings
    rounds = [FurtherCell(size=round(c.n), tokens=round(c.d), seed=c.seed) for made in log.rounds for c in made.cells]
    return _with_further(settings, rounds)


def _with_further(settings: Settings, cells: Sequence[FurtherCell]) -> Settings:
    further = tuple(dict.fromkeys([*settings.sweep.further, *cells]))
    return settings.model_copy(update={"sweep": settings.sweep.model_copy(update={"further": further})})


def words_that_measure(cells: Sequence[Place | NextCell], points: Points, directory: Path) -> list[str] | None:
    """Words of `scalesweep run` that measure these cells too in the directory of a sweep; None of one of another version.

    Args:
        cells: what was proposed, with copies as replicates.
        points: of the sweep, whose seeds are taken.
        directory: of the sweep.
    """
    seeds = free_seeds(points, [(cell.n, cell.d) for cell in cells])
    asked = [FurtherCell(size=round(c.n), tokens=round(c.d), seed=seed) for c, seed in zip(cells, seeds, strict=True)]
    settings = with_rounds(Store(directory).plan_file.settings(), read_rounds(directory))
    return overrides_of(_with_further(settings.model_copy(update={"dir": str(directory)}), asked))


def read_rounds(directory: Path) -> Log | None:
    """What an adaptive sweep in this directory has done; None where there is none.

    Raises:
        StoreError: rounds.json is damaged, or of another version.
    """
    path = directory / "rounds.json"
    try:
        content = read_json(path, sealed_only=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if content.get("schema") != SCHEMA:
        raise StoreError(f"{path} has schema {content.get('schema')}, but this version reads schema {SCHEMA}.")
    try:
        return Log.from_dict(content)
    except (KeyError, TypeError) as error:
        raise StoreError(f"{path} is not what this version writes ({error}).") from None


def write_rounds(directory: Path, log: Log) -> None:
    """Replace rounds.json, whole or not at all."""
    with plain_storage_errors(directory):
        write_text(directory / "rounds.json", sealed({"schema": SCHEMA, **log.to_dict()}))


def measured_losses(points: Points) -> dict[tuple[float, float, int], float]:
    """Losses of a sweep's cells by N, D and seed; a diverged cell has none."""
    columns = (points.used[name].tolist() for name in ("n", "d", "seed", "loss"))
    return {(float(n), float(d), int(seed)): float(loss) for n, d, seed, loss in zip(*columns, strict=True)}
