"""Arms whose text is written by cells of earlier arms, and which can be planned when these are measured.

An override of such an arm names an arm as @ARM: `data.cell=@base` is, for the first cell of the arm, the key of the first cell
of base, for its second that of the second, and so on, in declared order of sizes, budgets and seeds.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from scalesweep.errors import SpecError
from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import Device
from scalesweep.plan.plan import Plan
from scalesweep.settings.settings import Settings
from scalesweep.settings.study import NAMED_ARM
from scalesweep.sweep.corpora import Prepared, prepare_corpora
from scalesweep.sweep.run import plan_sweep

UNKNOWN = "0" * 12
"""Stands for the key of a cell that is not planned yet."""


def with_keys(overrides: Sequence[str], keys: Mapping[str, str]) -> list[str]:
    """The overrides with the key of a cell for each arm that they name, `UNKNOWN` for one without a key."""
    return [NAMED_ARM.sub(lambda found: keys.get(found[1], UNKNOWN), word) for word in overrides]


def waits_for(teachers: Sequence[str], plans: Mapping[str, Plan], recorded: Collection[str]) -> list[str]:
    """Those of an arm's teachers that are not planned, or have cells without a record."""
    return [name for name in teachers if name not in plans or any(cell.key not in recorded for cell in plans[name].cells)]


def keys_by_place(arm: str, teachers: Sequence[str], plans: Mapping[str, Plan]) -> list[dict[str, str]]:
    """Arm -> key of its cell, for each place of the arm.

    Raises:
        SpecError: the teachers differ in their number of cells.
    """
    if len({len(plans[name].cells) for name in teachers}) > 1:
        raise SpecError(
            f"arm {arm}: {' and '.join(teachers)} differ in their number of cells, so that none stands for another."
        )
    return [{name: plans[name].cells[i].key for name in teachers} for i in range(len(plans[teachers[0]].cells))]


def plan_written(
    arm: str, settings: Sequence[Settings], device: Device, say: Callable[[str], None]
) -> tuple[Plan, dict[str, Prepared]]:
    """The cells of an arm, each with a text of its own, and the texts.

    Args:
        arm: its name.
        settings: of the whole arm with the text of its first cell, with that of its second, ...
        device: where the cells are to be trained.
        say: takes lines for the user.

    Raises:
        SpecError: the arm has more cells than texts, or fewer.
        DataError: a text cannot be written.
    """
    cells: list[Cell] = []
    texts: dict[str, Prepared] = {}
    for place, own in enumerate(settings):
        corpora = prepare_corpora(own, say)
        plan = plan_sweep(own, corpora, device)
        if len(plan.cells) != len(settings):
            raise SpecError(f"arm {arm} has {len(plan.cells)} cells and {len(settings)} write for it: give both as many.")
        cells.append(plan.cells[place])
        texts.update(corpora.by_key)
    return Plan(plan.name, plan.count, tuple(cells), plan.warnings), texts
