"""rounds.json beside sweep.json: what an adaptive sweep was asked for, and what it has chosen and predicted; and which cells
can be chosen.
"""

from collections.abc import Sequence
from pathlib import Path

from scalesweep.analysis.forecast.exponent_cells import Place, Snap
from scalesweep.analysis.forecast.next_cells import NextCell
from scalesweep.analysis.forecast.rounds import Log, free_seeds
from scalesweep.errors import SpecError, StoreError
from scalesweep.files import plain_storage_errors, read_json, sealed, write_text
from scalesweep.plan.flops import DecoderShape
from scalesweep.plan.grid import CorpusFacts, Device, further_cell
from scalesweep.points.points import Points
from scalesweep.run.store.store import Store
from scalesweep.settings.again import overrides_of
from scalesweep.settings.plan import FurtherCell, ModelSpec
from scalesweep.settings.settings import Settings
from scalesweep.sweep.growth import standing_settings

SCHEMA = 1
"""Of rounds.json; raised when a field changes its meaning or goes."""


def with_rounds(settings: Settings, log: Log | None) -> Settings:
    """The settings with the cells of the log's rounds beside those that they have already."""
    if log is None:
        return settings
    rounds = [FurtherCell(size=round(c.n), tokens=round(c.d), seed=c.seed) for made in log.rounds for c in made.cells]
    return with_further(settings, rounds)


def with_further(settings: Settings, cells: Sequence[FurtherCell]) -> Settings:
    """The settings with more cells beside the grid."""
    further = tuple(dict.fromkeys([*settings.sweep.further, *cells]))
    return settings.model_copy(update={"sweep": settings.sweep.model_copy(update={"further": further})})


def with_standing(settings: Settings, store: Store) -> Settings:
    """The settings with the cells beside the grid that stand in the directory, which a command need not repeat."""
    standing = standing_settings(store)
    found = with_rounds(settings, read_rounds(store.directory))
    return found if standing is None else with_further(found, standing.sweep.further)


def cells_to_measure(cells: Sequence[Place | NextCell], points: Points, directory: Path | None) -> list[FurtherCell]:
    """What was proposed as cells that `run` takes: by the recipe of a sweep where there is one, with seeds that are free.

    Args:
        cells: what was proposed, with copies as replicates.
        points: whose seeds are taken.
        directory: of the sweep that the points are of; None of a table.
    """
    snap = None if directory is None else snap_of_sweep(directory)
    places = [(found.n, found.d) if snap and (found := snap(c.n, c.d)) else (c.n, c.d) for c in cells]
    copies = [places[:i].count(place) for i, place in enumerate(places)]  # in a table seeds are no matter of the recipe
    seeds = copies if directory is None else free_seeds(points, places)
    return [FurtherCell(size=round(n), tokens=round(d), seed=seed) for (n, d), seed in zip(places, seeds, strict=True)]


def words_that_measure(cells: Sequence[FurtherCell], directory: Path) -> list[str] | None:
    """Words of `scalesweep run` that measure these cells too in the directory of a sweep; None of one of another version."""
    settings = with_rounds(Store(directory).plan_file.settings(), read_rounds(directory))
    return overrides_of(with_further(settings.model_copy(update={"dir": str(directory)}), cells))


def snap_by_recipe(settings: Settings, facts: CorpusFacts, device: Device) -> Snap:
    """The cell nearest to N and D: the recipe's shape, whole steps of its batch, and no token of the text twice."""

    def nearest(n: float, d: float) -> Place | None:
        try:
            cell = further_cell(FurtherCell(size=round(n), tokens=round(d)), settings, facts, device)
        except SpecError:  # below one batch, or no width near it
            return None
        if cell.epochs > 1:
            return None
        return Place(float(cell.num_params(settings.count)), float(cell.tokens), cell.flops(settings.count))

    def snap(n: float, d: float) -> Place | None:
        # Twice, as rounds.json names a cell by its own N and D: with a batch that grows with D that may be another cell.
        first = nearest(n, d)
        return first and nearest(first.n, first.d)

    return snap


def snap_of_sweep(directory: Path) -> Snap | None:
    """The same of a measured sweep, whose cells hold what is needed to know of its text; None where they do not.

    They do not of several texts, of a mixture, and of models that only their own library describes.
    """
    plan_file = Store(directory).plan_file
    settings, cells = plan_file.settings(), plan_file.plan().cells
    texts = {(c.corpus, c.corpus_hash, c.shape.vocab_size, c.unique_tokens) for c in cells if isinstance(c.shape, DecoderShape)}
    if len(texts) != 1 or not isinstance(settings.model, ModelSpec) or settings.data.parts:
        return None
    (name, hash, vocab_size, unique_tokens) = texts.pop()
    return snap_by_recipe(settings, CorpusFacts(name, hash, vocab_size, unique_tokens), "cpu")  # no size depends on the device


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
