"""The cells of studies: what their arms ask for, measured in one directory, and read back as the points of each arm.

One directory holds the cells of all studies that were asked for there so far: a plan that only grows. Cells are found by their
content, so that what two arms or two studies share is trained once.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from scalesweep.errors import PointsError, SpecError, StoreError
from scalesweep.files import plain_storage_errors
from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts, Device
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.points.points import Points, points_from_rows
from scalesweep.run.launch.device import device_of_sweep, suited
from scalesweep.run.store.measured import Measured
from scalesweep.run.store.store import Store
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.data import TASKS, DataSpec
from scalesweep.settings.plan import CountSpec
from scalesweep.settings.settings import Settings
from scalesweep.settings.study import FormSpec
from scalesweep.studies.base import Arms
from scalesweep.studies.known_source import source_columns
from scalesweep.studies.load import Study
from scalesweep.studies.stages import keys_by_place, plan_written, waits_for, with_keys
from scalesweep.sweep.answers import answers_in, measure_answers
from scalesweep.sweep.corpora import Corpora, Prepared, prepare_corpora
from scalesweep.sweep.pooling import keys_present
from scalesweep.sweep.run import measure, plan_sweep
from scalesweep.train.data.stated import task_of
from scalesweep.train.data.tasks import token_source
from scalesweep.units import plural

Say = Callable[[str], None]
Form = Literal["quick", "full"]
_POOLED = "These are the arms of studies, which differ in text, optimizer or rate: a law of all of them at once means nothing."
"""What commands say that fit the directory as if it were one sweep."""
_FIXED = ("fit", "report", "budget", "dir", "count")
"""Sections of the settings that a study has itself, or that would change what it measures behind its back."""
_QUICK_CORPUS = CorpusFacts("design", "0" * 16, 512, 3_584_192)
"""Vocabulary and unique tokens of the corpus of the quick forms."""
_OPERATION = ("launcher", "logger", "cost", "store")
"""Sections that change no cell."""


@dataclass(frozen=True, eq=False)
class Asked:
    """The sweeps of a study."""

    study: Study
    form: Form
    words: tuple[str, ...]
    """Settings of the user's own."""
    settings: Mapping[str, Settings]
    """By arm."""
    plans: Mapping[str, Plan]
    """By arm."""
    corpora: Corpora
    """Of all arms."""
    device: Device
    waiting: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Arm -> the arms whose cells write its text and are not all measured, so that it has no plan yet."""

    @property
    def launched(self) -> Settings:
        """Whose launcher, logger and rates the study has: every arm's are the same."""
        return next(iter(self.settings.values()))

    def cells(self, arms: Collection[str] | None = None) -> dict[str, Cell]:
        """The cells of some arms, or of all, by key."""
        return {c.key: c for name, plan in self.plans.items() if arms is None or name in arms for c in plan.cells}

    @property
    def open_arms(self) -> list[str]:
        """Those that no forecast speaks of."""
        return [name for name in self.plans if name not in self.study.spec.sealed]

    def forecast_cells(self, arms: Collection[str] | None = None) -> dict[str, Cell]:
        """The cells of some sealed arms, or of all, that no open arm has: only these can be forecast."""
        known = self.cells(self.open_arms)
        return {
            key: cell for key, cell in self.cells(self.study.spec.sealed if arms is None else arms).items() if key not in known
        }


def compose_arms(study: Study, form: Form, words: Sequence[str], directory: Path) -> dict[str, Settings]:
    """The settings of every arm; those of the user's own come before the arm's, so that an arm stays what it is.

    Raises:
        SpecError: a setting that cannot be composed, or that a study fixes.
    """
    for word in words:
        if _section(word) in _FIXED:
            raise SpecError(f"{word}: a study fixes {_section(word)} itself; it takes settings of cells, such as data=enwik8.")
    spec: FormSpec = getattr(study.spec, form)
    settings = {arm: _composed(spec, arm, words, directory) for arm in spec.arms}
    tuned = [arm for arm, one in settings.items() if one.sweep.tune is not None]
    if tuned:
        raise SpecError(f"study/{study.name}: arm {tuned[0]} is tuned (sweep.tune); an arm is a grid, so use sweep.axes.")
    for arm in study.spec.answered:
        if (source := settings[arm].data.source) not in TASKS and not spec.teachers(arm):
            raise SpecError(f"study/{study.name}: arm {arm} is answered, and data={source} states no problems.")
    if len({one.count for one in settings.values()}) > 1:
        raise SpecError(f"study/{study.name}: its arms count N or C in different ways (count), so they cannot be compared.")
    return settings


def _composed(
    spec: FormSpec, arm: str, words: Sequence[str], directory: Path, keys: Mapping[str, str] = MappingProxyType({})
) -> Settings:
    """The settings of an arm, with the cells that write its text."""
    own = with_keys(spec.arms[arm], keys)
    model = [f"data.model={store_place(directory)}"] if spec.teachers(arm) else []
    return compose_settings(["logger=none", *spec.common, *words, *own, *model, f"dir={directory}"])


def store_place(directory: Path) -> Path:
    """The sweep that holds the cells of all studies of a directory."""
    return directory / "sweep"


def ask(study: Study, form: Form, words: Sequence[str], directory: Path, say: Say) -> Asked:
    """Plan every arm of a study, but those whose text is to be written by cells without a record.

    Raises:
        ScaleSweepError: as of `compose_arms`, or a corpus that cannot be prepared or is too short.
    """
    settings = compose_arms(study, form, words, directory)
    spec: FormSpec = getattr(study.spec, form)
    device = device_of_sweep(next(iter(settings.values())))
    says = [say, *[lambda _: None] * len(settings)]  # once for all arms
    settings = {arm: suited(own, device, tell) for (arm, own), tell in zip(settings.items(), says, strict=False)}
    plans: dict[str, Plan] = {}
    by_key: dict[str, Prepared] = {}
    waiting: dict[str, Sequence[str]] = {}
    store = Store(store_place(directory))
    recorded = [key for key in keys_present(store) if store.record(key) is not None] if spec.is_staged else []
    for arm, own in settings.items():
        teachers = spec.teachers(arm)
        if lacking := waits_for(teachers, plans, recorded):
            waiting[arm] = lacking
        elif teachers:
            places = keys_by_place(arm, teachers, plans)
            plans[arm], texts = plan_written(
                arm, [_composed(spec, arm, words, directory, keys) for keys in places], device, say
            )
            by_key.update(texts)
        else:
            corpora = prepare_corpora(own, say)
            plans[arm] = plan_sweep(own, corpora, device)
            by_key.update(corpora.by_key)
    return Asked(study, form, tuple(words), settings, plans, Corpora(by_key), device, waiting)


def design(study: Study, form: Form, facts: CorpusFacts = _QUICK_CORPUS) -> Arms:
    """The rows of every arm with a loss of 1, for simulations where no corpus needs to be there."""
    settings = compose_arms(study, form, (), Path("unused"))
    first = next(iter(settings.values())).data  # whose vocabulary text of cells has
    sources = {arm: first if own.data.source == "generated" else own.data for arm, own in settings.items()}
    plans = {arm: make_plan(own, _with_vocabulary(facts, sources[arm]), "cpu") for arm, own in settings.items()}
    return {arm: planned_points(plan, settings[arm].count) for arm, plan in plans.items()}


def _with_vocabulary(facts: CorpusFacts, data: DataSpec) -> CorpusFacts:
    """The facts with the vocabulary that a drawn source has whatever is drawn of it, on which N depends."""
    return dataclasses.replace(facts, vocab_size=token_source(data).vocab_size) if data.is_drawn else facts


def planned_points(plan: Plan, count: CountSpec) -> Points:
    """Planned cells as rows with a loss of 1, and seconds as if every FLOP took as long."""
    rows = [
        {
            **cell.row(count),
            **plan.columns.get(cell.key, {}),
            "seconds": cell.flops(count) / 1e11,
            "loss": 1.0,
        }
        for cell in plan.cells
    ]
    return points_from_rows(rows, count.params, count.flops, plan.name)


def measure_cells(
    asked: Sequence[Asked], arms: Mapping[str, Collection[str]], store: Store, say: Say, held_back: Collection[str] = ()
) -> None:
    """Train what has no record of these arms of each study, and of what was asked for here before.

    Args:
        asked: the studies.
        arms: those of each study, by its name.
        store: of the cells of all studies.
        say: takes lines for the user.
        held_back: keys of cells that no arm may have yet.

    Raises:
        StoreError: the directory cannot be used.
        KeyboardInterrupt: checkpoints are written; the same command goes on.
    """
    wanted: dict[str, Cell] = {}
    columns: dict[str, dict[str, Any]] = {}
    present = bool(keys_present(store))
    if present:
        before = store.plan_file.plan()
        wanted |= {cell.key: cell for cell in before.cells}
        columns |= {key: dict(place) for key, place in before.columns.items()}
    for one in asked:
        wanted |= {key: cell for key, cell in one.cells(arms[one.study.name]).items() if key not in held_back}
        _note_arms(one, arms[one.study.name], held_back, columns)
    first = asked[0]
    settings = first.launched
    if any(own.train.keep_weights for one in asked for own in one.settings.values()):  # what one arm needs, all of them have
        settings = settings.model_copy(update={"train": settings.train.model_copy(update={"keep_weights": True})})
    plan = Plan("studies", settings.count, tuple(wanted.values()), (_POOLED,), columns)
    facts = _merged(store.plan_file.content()["facts"] if present else {}, [one.corpora.stated() for one in asked])
    added = store.plan_file.create(plan, settings.model_dump(mode="json"), facts)
    with plain_storage_errors(store.directory):
        store.claims.reopen_failed()
    measure(store, plan, settings, first.device, added, say)
    for one in asked:
        answered = set(arms[one.study.name]) & set(one.study.spec.answered)
        tasks = _tasks(one)
        cells = [cell for key, cell in one.cells(answered).items() if key not in held_back]
        measure_answers(store, cells, tasks, one.device, say)


def read_arms(asked: Asked, measured: Measured) -> Arms:
    """The measured points of each arm, in declared order, with the columns of `base.Arms`.

    Raises:
        PointsError: nothing of an arm is measured.
    """
    points = measured.points(asked.launched.count)
    records, store, tasks = measured.records, Store(measured.directory), _tasks(asked)
    frame = points.frame.assign(seconds=[_alone(records[key]) for key in points.frame["key"]])
    corpora = {hash: prepared.corpus for hash, prepared in asked.corpora.by_hash.items()}
    known = source_columns((cell for key, cell in asked.cells().items() if key in records), corpora)
    for name in ("entropy", "unigram_entropy", "c_counted") if known else ():
        frame[name] = [known.get(key, {}).get(name, math.nan) for key in frame["key"]]
    arms = {}
    for arm, plan in asked.plans.items():
        rows = frame[frame["key"].isin([cell.key for cell in plan.cells])].reset_index(drop=True)
        if not len(rows):
            raise PointsError(f"study/{asked.study.name}: nothing of arm {arm} is measured.")
        if arm in asked.study.spec.answered:
            answers = answers_in(store, rows["key"], tasks[plan.cells[0].corpus_hash].source)
            lacking = sum(a is None and not why for a, why in zip(answers, rows["excluded_reason"], strict=True))
            if lacking:
                raise PointsError(
                    f"study/{asked.study.name}: {plural(lacking, 'cell')} of arm {arm} without answers; the same command asks."
                )
            rows = rows.assign(answers=np.array(answers, dtype=object))
        arms[arm] = dataclasses.replace(points, frame=rows.dropna(axis=1, how="all"), source=f"{points.source}, arm {arm}")
    return arms


def _tasks(asked: Asked) -> dict[str, DataSpec]:
    """Hash of a corpus -> the source that states its problems, of corpora that have any."""
    found = {hash: task_of(prepared.corpus) for hash, prepared in asked.corpora.by_hash.items()}
    return {hash: task for hash, task in found.items() if task is not None}


def unmeasured(asked: Asked, measured: Measured) -> list[str]:
    """Keys of the study's cells without a record."""
    return [key for key in asked.cells() if key not in measured.records]


def _alone(record: Mapping[str, Any]) -> float:
    """Seconds of training that the cell would take without the steps that it got from another's trunk."""
    times, steps = record["times"], int(record["row"]["steps"])
    return float(times["training_seconds"]) * steps / max(steps - int(times.get("shared_steps", 0)), 1)


def _note_arms(asked: Asked, arms: Collection[str], held_back: Collection[str], columns: dict[str, dict[str, Any]]) -> None:
    """Say in a column of each cell which study asked for it first; for the reader of the table alone."""
    for arm in arms:
        plan = asked.plans[arm]
        for cell in plan.cells:
            if cell.key in held_back:
                continue
            columns.setdefault(cell.key, {**plan.columns.get(cell.key, {}), "study": f"{asked.study.name}/{arm}"})


def _merged(before: Mapping[str, Any], stated: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What sweep.json states of the corpora, those of earlier studies included.

    Raises:
        StoreError: a validation set of one name is another text than before.
    """
    found = dict(before)
    for facts in stated:
        for name, text in facts.get("validation", {}).items():
            if found.get("validation", {}).get(name, text) != text:
                raise StoreError(
                    f"data.validation.{name} is another text ({text}) than other studies here were measured on; give it "
                    "another name, or choose another directory with dir=...."
                )
        found = {
            **facts,
            **found,
            "corpora": {**found.get("corpora", {}), **facts["corpora"]},
            **({"validation": {**found.get("validation", {}), **facts["validation"]}} if "validation" in facts else {}),
        }
    return found


def may_change_cells(word: str) -> bool:
    """Whether a setting of the user's own may be one that a cell depends on."""
    return _section(word) not in _OPERATION


def _section(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].split(".")[0]
