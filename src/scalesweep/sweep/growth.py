"""Whether a command may add cells to the sweep that stands in its directory: only where it names what it changes of the grid.

Whoever repeats a command with a setting left out, or gives the directory of a sweep alone to go on with it, names nothing: its
grid would grow to that of the defaults.
"""

from collections.abc import Collection
from typing import Any

from scalesweep.errors import SpecError, StoreError
from scalesweep.plan.plan import Plan
from scalesweep.run.store.contents import changed_settings, describe_changes
from scalesweep.run.store.store import Store
from scalesweep.settings.again import resume_command
from scalesweep.settings.settings import Settings
from scalesweep.units import plural

_GRID = tuple("sweep.sizes sweep.budgets sweep.seeds sweep.design sweep.tokens_per_parameter budget".split())
"""What a sweep may grow by; what else of its settings changes makes it another sweep."""
_VALUES = ("sweep.axes", "sweep.tune")
"""The same where the axis or the tuned setting was there before."""
_NO_MATTER = tuple(
    "count cost data sweep.further train.device train.pack train.fast train.compile train.micro_batch train.curve_points "
    "train.checkpoint_seconds train.keep_weights train.devices".split()
)
"""What is no part of a cell; data, of which all cells of an arm hold the same, so that those that stand tell of a change; and
cells beside the grid, which no default names."""


def refuse_unasked(store: Store, plan: Plan, settings: Settings, named: Collection[str] | None) -> None:
    """Refuse a plan that adds cells to the directory's sweep by settings that the command does not name, or of another sweep.

    Args:
        store: of the directory; it need not be there.
        plan: what is asked for.
        settings: what it was made from.
        named: settings that the command names, dotted; None where all of them are meant.

    Raises:
        StoreError: one sentence with what differs, and how to say that it is meant.
    """
    before = standing_settings(store)
    if named is None or before is None:
        return
    present, planned = set(store.plan_file.keys()), {cell.key for cell in plan.cells}
    if planned <= present or not present <= planned:  # nothing is added, or the store refuses it by itself
        return
    changes = changed_settings(before.model_dump(mode="json"), settings.model_dump(mode="json"))
    unasked = {name: change for name, change in changes.items() if not _is_asked(name, change, named)}
    if not unasked:
        return
    again = resume_command(before, store.directory)
    raise StoreError(
        f"{store.directory} holds a sweep of {plural(len(present), 'cell')} with other settings ({describe_changes(unasked)}), "
        f"and this command would add {len(planned - present)} to it: add --extend if that is meant, choose another directory "
        f"with dir=..., or go on with that sweep as it is by {again}."
    )


def standing_settings(store: Store) -> Settings | None:
    """The settings of the directory's sweep; None where there is none, or one of a version that had other settings."""
    if not store.plan_file.path.is_file():
        return None
    try:
        return store.plan_file.settings()
    except SpecError:
        return None


def refuse_another(store: Store, settings: Settings, named: Collection[str] | None) -> None:
    """Refuse a sweep of another name than that of the directory's, before any text is read for it.

    Args:
        store: of the directory; it need not be there.
        settings: what is asked for.
        named: as above.

    Raises:
        StoreError: one sentence.
    """
    found = standing_settings(store)
    if named is not None and found is not None and found.sweep.name != settings.sweep.name:
        again = resume_command(found, store.directory)
        raise StoreError(
            f"{store.directory} holds the sweep {found.sweep.name}, and this command is one of {settings.sweep.name}: go on "
            f"with that one by {again}, choose another directory with dir=..., or add --extend if its cells shall join."
        )


def _is_asked(name: str, change: tuple[Any, Any], named: Collection[str]) -> bool:
    if _is_in(name, _NO_MATTER):
        return True
    if not (_is_in(name, _GRID) or (_is_in(name, _VALUES) and None not in change)):
        return False
    return _is_in(name, [word for word in named if "." in word])


def _is_in(name: str, tables: Collection[str]) -> bool:
    """Whether a setting is one of these, or stands in one of these tables."""
    return any(f"{name}.".startswith(f"{table}.") for table in tables)
