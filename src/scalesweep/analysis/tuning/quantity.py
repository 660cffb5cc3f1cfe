"""Which quantity a tuned column is, whatever it is called: learning rate and batch have windows and laws of their own."""

from collections.abc import Iterable, Mapping

from scalesweep.points.values import plain

LR, BATCH = "recipe.lr", "recipe.batch_tokens"
"""The settings of a sweep that columns of other names can mean."""
_NAMES = {
    **dict.fromkeys(("lr", "learningrate", "maxlr", "peaklr", "baselr", "maxlearningrate", "peaklearningrate"), LR),
    **dict.fromkeys(("batchtokens", "tokensperbatch", "tokensperstep", "globalbatchtokens"), BATCH),
}
"""Names without their section. A batch in sequences is not one in tokens."""


def quantity(column: str) -> str:
    """`recipe.lr` for any name of the learning rate (`lr`, `learning_rate`, `optim.lr`), `recipe.batch_tokens`, or the name."""
    return _NAMES.get(plain(column), _NAMES.get(plain(column.rpartition(".")[2]), column))


def known_names(columns: Iterable[str]) -> Mapping[str, str]:
    """Column -> the setting that it means; where two mean one, the first has its name and the others keep theirs."""
    columns = list(columns)
    found: dict[str, str] = {}
    for column in sorted(columns, key=lambda name: quantity(name) != name):
        name = quantity(column)
        found[column] = column if name in found.values() or (name != column and name in columns) else name
    return found
