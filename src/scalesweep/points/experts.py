"""Tables of mixtures of experts, which count parameters twice: those that a token passes through, and all of them.

C = 6 N_active D holds of the active ones, so they are N where a table has both; the other count stays beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scalesweep.points.values import plain

ACTIVE = (
    *("active_params", "n_active", "active_parameters", "activated_params", "activated_parameters", "params_active"),
    *("parameters_active", "num_active_params", "num_active_parameters", "n_active_params", "active_n", "n_act"),
)
TOTAL = (
    *("total_params", "n_total", "total_parameters", "params_total", "parameters_total", "num_total_params"),
    *("num_total_parameters", "n_total_params", "total_n"),
)
"""Accepted names of either count; case, spaces, hyphens, underscores and slashes do not matter."""


@dataclass(frozen=True)
class Counts:
    """The two columns."""

    active: str
    """Parameters that a token passes through."""
    total: str
    """All parameters; empty where no column has them."""

    @property
    def note(self) -> str:
        """Which of them is N, in a sentence."""
        rest = f"; {self.total}, all parameters, is kept as n_total" if self.total else ""
        return f"N is {self.active}, the parameters that a token passes through{rest}."


def find_counts(columns: Sequence[str], plain_params: Sequence[str]) -> Counts | None:
    """The active and the total parameters; None where no column, or several, are the active ones.

    Args:
        columns: names of the table's columns.
        plain_params: those that mean parameters without saying which: beside active ones, one alone is the total.
    """
    active, total = (_among(columns, names) for names in (ACTIVE, TOTAL))
    if len(active) != 1:
        return None
    others = total or [column for column in plain_params if column not in active]
    return Counts(active[0], others[0] if len(others) == 1 else "")


def _among(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    accepted = {plain(name) for name in names}
    return [column for column in columns if plain(column) in accepted]
