"""Which column of a user's table holds N, D, C and the loss.

What a header means outright goes before a path that ends on it (`eval/val/loss`), and words go before letters: N, D, C and L
are symbols together or not at all, for `L` alone may count layers and `d` may be a width. Nothing is guessed: two columns that
mean the same are a question, all questions of a table are one message, and a column that the caller names is taken as it is.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scalesweep.errors import PointsError, did_you_mean
from scalesweep.points.experts import Counts, find_counts
from scalesweep.points.metric import find_headers
from scalesweep.points.values import plain
from scalesweep.units import plural

Variable = Literal["n", "d", "c"]
VARIABLES: tuple[Variable, ...] = ("n", "d", "c")
ROLES = (*VARIABLES, "loss", "loss_se", "seed")
"""What a column can be named to hold."""
NAMES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "n": (
        (
            *("params", "parameters", "num_params", "num_parameters", "n_params", "n_parameters", "nparams", "param_count"),
            *("parameter_count", "params_total", "total_params", "parameters_total", "total_parameters", "model_params"),
            *("model_parameters", "model_size", "non_embedding_params", "params_non_embedding", "non_embedding_parameters"),
        ),
    ),
    "d": (
        (
            *("tokens", "training_tokens", "train_tokens", "num_tokens", "n_tokens", "total_tokens", "tokens_seen"),
            *("tokens_trained", "trained_tokens", "dataset_tokens", "token_count", "tokens_total", "num_training_tokens"),
            *("num_train_tokens", "total_training_tokens"),
        ),
    ),
    "c": (
        (
            *("flop", "flops", "compute", "training_flop", "training_flops", "train_flops", "total_flos", "total_flops"),
            *("flops_total", "training_compute", "train_compute", "total_compute", "compute_flops"),
        ),
        ("flops_budget", "flop_budget", "compute_budget", "budget_flops"),
        ("total_gflops", "training_gflops", "train_gflops"),
    ),
    "loss": (
        (
            *("loss", "val_loss", "valid_loss", "validation_loss", "eval_loss", "test_loss", "final_loss", "final_val_loss"),
            *("final_validation_loss", "final_eval_loss", "final_test_loss", "heldout_loss", "held_out_loss"),
        ),
        ("val_bpb", "valid_bpb", "validation_bpb", "eval_bpb", "test_bpb", "final_val_bpb", "bpb"),
    ),
    "loss_se": (("loss_se", "loss_stderr", "loss_std_err", "loss_standard_error", "val_loss_se"),),
    "seed": (("seed", "random_seed"),),
}
"""Names in words; case, spaces, hyphens, underscores, dots and slashes do not matter. Later groups stand in for earlier."""
_USUAL, _LISTED = 6, 30
"""Accepted names, and a table's own, that a message lists."""
_SYMBOLS = {"n": "n", "d": "d", "c": "c", "l": "loss"}
_MEASURED = ("eval", "evaluation", "val", "valid", "validation", "test", "heldout")
"""Parts of a path of which the last part `loss` is that of held-out text."""
_FACTORS = {"totalgflops": 1e9, "traininggflops": 1e9, "traingflops": 1e9}
_WIDE = re.compile(r"(?P<run>.+?) - (?P<metric>.+?)(?:__(?:MIN|MAX))?")


@dataclass(frozen=True)
class Chosen:
    """The columns that are read."""

    names: Mapping[str, str]
    """n, d, c, loss, loss_se, seed (those that are there) -> column of the table."""
    factors: Mapping[str, float] = field(default_factory=dict)
    """By which a column's numbers are multiplied, where its name says so: n, d, c -> factor."""
    unread: tuple[str, ...] = ()
    """Columns that could have been taken as N, D or C by their letter, and were not."""
    counts: Counts | None = None
    """Active and total parameters, where a mixture of experts has both."""


def choose_columns(table: Mapping[str, Sequence[Any]], named: Mapping[str, str], source: str) -> Chosen:
    """The columns that hold N, D, C, the loss, its standard error and the seed.

    Args:
        table: columns by name; equal columns are one.
        named: role -> column, as the caller gives it.
        source: what messages call the table.

    Raises:
        PointsError: a named role or column is not there, several columns mean the same, or the loss, or all of N, D, C lack.
    """
    columns = list(table)
    _check_named(columns, named, source)
    if all(name in columns for name in (*VARIABLES, "loss")) and not named:
        return Chosen({name: name for name in ROLES if name in columns})
    if not named and (words := _wide(columns)):
        raise PointsError(f"{source}: {words}")
    counts = find_counts(columns, _candidates("n", columns)) if "n" not in named else None
    free = [column for column in columns if column not in named.values()]
    found = {role: _candidates(role, free) for role in ROLES if role not in named}
    if counts:
        found["n"] = [counts.active]
    symbols = _symbols(free)
    letters, unread = _letters(found, symbols, set(named))
    names, doubts = dict(named), []
    for role, candidates in found.items():
        if role in letters:
            names[role] = letters[role]
        elif len(distinct := _distinct(candidates, table)) > 1:
            doubts.append(_which(role, distinct))
        elif distinct:
            names[role] = distinct[0]
    if "loss" not in names and not found.get("loss") and len(stated := find_headers(free)) == 1:
        names["loss"] = stated[0]
    doubted = {doubt.split()[0] for doubt in doubts}
    if "loss" not in names and "loss" not in doubted:
        doubts.append(_missing("loss", ("loss",)))
    if not {*names, *doubted} & set(VARIABLES):
        doubts.append(_missing("n, d or c", VARIABLES))
    if doubts:
        found_words = f" (found {listed(columns)})" if any("is missing" in doubt for doubt in doubts) else ""
        raise PointsError(f"{source}: {'; '.join(doubts)}{found_words}.")
    factors: dict[str, float] = {
        role: _FACTORS[key] for role in VARIABLES if (key := plain(_last(names.get(role, "")))) in _FACTORS
    }
    return Chosen(names, factors, unread, counts)


def _check_named(columns: Sequence[str], named: Mapping[str, str], source: str) -> None:
    for role, column in named.items():
        if role not in ROLES:
            allowed = ", ".join(f"columns.{name}" for name in ROLES)
            raise PointsError(f"{source}: columns.{role} is not known{did_you_mean(role, ROLES)}; there are {allowed}.")
        if column not in columns:
            near = did_you_mean(column, columns)
            raise PointsError(f"{source}: columns.{role}: there is no column {column!r}{near}; found {listed(columns)}.")
    for column in (twice := [column for column in named.values() if list(named.values()).count(column) > 1]):
        roles = " and ".join(f"columns.{role}" for role, name in named.items() if name == twice[0])
        raise PointsError(f"{source}: {roles} name one column, {column!r}; each needs its own.")


def _candidates(role: str, columns: Sequence[str]) -> list[str]:
    """Columns whose header means the role: of the first group that any is in, whole headers before ends of paths."""
    for group in NAMES[role]:
        accepted = {plain(name) for name in group}
        if whole := [column for column in columns if plain(column) in accepted]:
            return whole
        paths = [column for column in columns if plain(_last(column)) in accepted and column != _last(column)]
        if role == "loss":
            paths = [column for column in paths if not _is_training(column)]
        if paths:
            return paths
    return []


def _is_training(column: str) -> bool:
    """Whether a path that ends on `loss` may be that of training: nothing before says that it is held out."""
    parts = [plain(part) for part in re.split(r"[/.]", column)]
    return parts[-1] == "loss" and not any(part.startswith(_MEASURED) for part in parts[:-1])


def _last(column: str) -> str:
    """The last part of a path."""
    return re.split(r"[/.]", column)[-1].strip()


def _symbols(columns: Sequence[str]) -> dict[str, str]:
    """Role -> column of one letter, whole headers before ends of paths."""
    found: dict[str, str] = {}
    for column in sorted(columns, key=lambda column: column != _last(column)):
        if (role := _SYMBOLS.get(_last(column).lower())) is not None:
            found.setdefault(role, column)
    return found


def _letters(
    found: Mapping[str, Sequence[str]], symbols: Mapping[str, str], named: set[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Which letters are taken, by role, and those of N, D, C that are not.

    Of N, D and C all that are there, where they are at least two and say whatever words say; else, where words and names say
    fewer than two of them, those that words lack. L where no word says the loss.
    """
    variables: dict[str, str] = {role: column for role, column in symbols.items() if role in VARIABLES and role not in named}
    words = {role for role in VARIABLES if found.get(role)}
    if len(variables) >= 2 and words <= set(variables):
        letters: dict[str, str] = dict(variables)
    elif len(words | (named & set(VARIABLES))) < 2:
        letters = {role: column for role, column in variables.items() if role not in words}
    else:
        letters = {}
    unread = tuple(column for role, column in variables.items() if role not in letters and role not in words)
    if "loss" in symbols and "loss" not in named and not found.get("loss"):
        letters["loss"] = symbols["loss"]
    return letters, unread


def _distinct(candidates: Sequence[str], table: Mapping[str, Sequence[Any]]) -> list[str]:
    """The candidates without copies of earlier ones."""
    distinct: list[str] = []
    for column in candidates:
        if not any([str(cell) for cell in table[column]] == [str(cell) for cell in table[other]] for other in distinct):
            distinct.append(column)
    return distinct


def _which(role: str, candidates: Sequence[str]) -> str:
    """What to do about columns that mean the same; beside one validation loss, `loss` is that of training."""
    them = " and ".join(map(repr, candidates)) if len(candidates) < 4 else f"{', '.join(map(repr, candidates))}"
    others = [column for column in candidates if plain(column) != "loss"]
    choice = others[0] if others else candidates[0]
    setting = f"columns.{role}={choice}" if " " not in choice else f"'columns.{role}={choice}'"
    return f"{role} can be {them}: choose one, such as {setting}"


def _missing(what: str, roles: Sequence[str]) -> str:
    usual = ", ".join(name for role in roles for name in NAMES[role][0][: _USUAL // len(roles)])
    settings = " or ".join(f"columns.{role}=NAME" for role in roles)
    return f"column {what} is missing; name it by {settings}, or call it {usual}, ... (docs/own.md)"


def listed(columns: Iterable[str]) -> str:
    """The names of a table's columns, of many the first."""
    names = list(columns)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED]) or 'none'}{more}"


def _wide(columns: Sequence[str]) -> str:
    """What a chart that wandb exports is, one column a run, and what is needed; empty for another table."""
    matches = [match for column in columns[1:] if (match := _WIDE.fullmatch(column))]
    if not matches or len(matches) < len(columns) - 1:
        return ""
    runs = list(dict.fromkeys(match["run"] for match in matches))
    metric = matches[0]["metric"]
    return (
        f"this is a chart as wandb exports it, {metric} of {plural(len(runs), 'run')} over {columns[0]}, one column a run; it "
        "does not say how many parameters and tokens a run has: export the table of runs instead (Name, State, config)."
    )
