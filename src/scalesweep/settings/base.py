"""What all settings are made of: frozen validated tables, quantities with suffixes, sizes, and one-sentence refusals."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    model_validator,
)

from scalesweep.errors import SpecError
from scalesweep.settings.guess import value_instead, where_instead

_SUFFIXES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}
_LARGEST = 10**30
"""A judgement: no sweep has as many of anything, and every number up to it is finite as a float."""
_QUANTITY = re.compile(r"^\s*([0-9][0-9_]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?)\s*([kKMBGT]?)\s*$")


def parse_quantity(value: object) -> object:
    """A count such as 250k, 1.5M, 2e6 or 64_000 as a number; anything else is returned for the validator to refuse."""
    if isinstance(value, str) and (match := _QUANTITY.match(value)):
        number = Decimal(match[1].replace("_", "")) * _SUFFIXES[match[2]]
        return int(number) if number < _LARGEST and number == int(number) else float(number)
    return value


def shown(value: object) -> str:
    """A value in a message as a user writes it: 64000 and 1e+13, not 64000.0 and 10000000000000.0."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    return f"{value:.12g}" if isinstance(value, float) else repr(value)


Count = Annotated[PositiveInt, Field(le=_LARGEST), BeforeValidator(parse_quantity)]
"""A positive whole number; 250k, 1.5M and 2e6 are understood."""
Amount = Annotated[PositiveFloat, Field(le=_LARGEST), BeforeValidator(parse_quantity)]
"""A positive number, whole or not; 250k, 1.5M and 1e15 are understood."""
NonNegativeAmount = Annotated[NonNegativeFloat, Field(le=_LARGEST), BeforeValidator(parse_quantity)]
"""The same, or zero."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A seed of a pseudo-random generator."""
Target = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]
"""A class of the user's own, as package.module:Class."""


class Spec(BaseModel):
    """Base of all settings: immutable, no unknown key, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, values: Any) -> Any:
        """YAML's true and yes are not numbers, although Python counts them as 1."""
        for name, value in values.items() if isinstance(values, Mapping) else ():
            field = cls.model_fields.get(name)
            truths = [v for v in (value if isinstance(value, list | tuple) else [value]) if isinstance(v, bool)]
            if truths and field is not None and field.annotation is not bool and "true" not in get_args(field.annotation):
                raise ValueError(f"{name} = {value}: must not be true or false")
        return values


class Shape(Spec):
    """A model size given by its dimensions."""

    width: PositiveInt
    """Model width d (the residual stream)."""
    depth: PositiveInt
    """Number of layers."""


class Ladder(Spec):
    """Sizes spaced evenly in log N; 15k..500k:6 is a ladder of six sizes from 15k to 500k."""

    smallest: Count
    """Smallest target N, in parameters of `count.params`."""
    largest: Count
    """Largest target N."""
    num: Annotated[int, Field(ge=2)]
    """Number of sizes."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.largest <= self.smallest:
            raise ValueError(f"largest ({self.largest}) must be above smallest ({self.smallest})")
        return self


Size = Annotated[
    Annotated[Shape, Tag("<Shape>")] | Annotated[Count, Tag("<target>")],
    Discriminator(lambda value: "<Shape>" if isinstance(value, Mapping | Shape) else "<target>"),
]
_LADDER = re.compile(r"^(?P<smallest>.+)\.\.(?P<largest>.+):(?P<num>.+)$")


def parse_ladder(value: object) -> object:
    """SMALLEST..LARGEST:NUM as a table; anything else is returned for the validator to refuse."""
    match = _LADDER.match(value) if isinstance(value, str) else None
    return match.groupdict() if match else value


Sizes = Annotated[
    Annotated[Ladder, Tag("<Ladder>")] | Annotated[tuple[Size, ...], Field(min_length=1), Tag("<list>")],
    Discriminator(lambda value: "<Ladder>" if isinstance(value, Mapping | Ladder) else "<list>"),
    BeforeValidator(parse_ladder),
]


class Range(Spec):
    """Values of a tuned setting; 1e-3..3e-2:6 is six values from 0.001 to 0.03, evenly spaced in the logarithm."""

    low: Amount
    """Smallest value."""
    high: Amount
    """Largest value."""
    num: Annotated[int, Field(ge=2, le=4096)] | None = None
    """Number of values (grid); random and Sobol search take any value between low and high."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high <= self.low:
            raise ValueError(f"high ({self.high:g}) must be above low ({self.low:g})")
        return self


_RANGE = re.compile(r"^(?P<low>.+?)\.\.(?P<high>[^:]+)(?::(?P<num>.+))?$")


def parse_range(value: object) -> object:
    """LOW..HIGH or LOW..HIGH:NUM as a table; anything else than that, a table or a list of several values is refused."""
    if isinstance(value, str) and (match := _RANGE.match(value)):
        return {name: text for name, text in match.groupdict().items() if text is not None}
    if isinstance(value, Mapping | Range):
        return value
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r} must be a range, such as 1e-3..3e-2:6, or a list, such as [1e-3, 3e-3]")
    if len(set(map(str, value))) < 2:
        raise ValueError(f"{shown(value)} leaves nothing to tune; give two different values or more, or fix the setting itself")
    return value


Choices = Annotated[
    Annotated[Range, Tag("<Range>")] | Annotated[tuple[NonNegativeAmount, ...], Tag("<values>")],
    Discriminator(lambda value: "<Range>" if isinstance(value, Mapping | Range) else "<values>"),
    BeforeValidator(parse_range),
]
"""The values that a tuned setting is tried at."""
AutoCount = Annotated[
    Annotated[Literal["auto"], Tag("<auto>")] | Annotated[PositiveInt, Tag("<number>")],
    Discriminator(lambda value: "<auto>" if value == "auto" else "<number>"),
]


S = TypeVar("S", bound=Spec)


def parse(spec: type[S], values: Mapping[str, Any], prefix: str = "") -> S:
    """Validate `values` as `spec`; key paths in messages start with `prefix`."""
    try:
        return spec.model_validate(dict(values))
    except ValidationError as error:
        items = [item for item in error.errors(include_url=False) if not (item["type"] == "too_short" and item["input"])]
        raise SpecError("\n".join(_sentence(spec, item, prefix) for item in items)) from None


_EXPECTED = {
    "int_parsing": "must be a whole number, such as 64, 250k or 1.5M",
    "int_type": "must be a whole number, such as 64, 250k or 1.5M",
    "int_from_float": "must be a whole number, such as 64, 250k or 1.5M",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "tuple_type": "must be a list, in brackets",
    "model_type": "must be a table of settings, of which each is set by itself",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "too_short": "must not be empty",
}


def _sentence(spec: type[Spec], item: Any, prefix: str) -> str:
    """One validation error: the key's path, the value, what is allowed."""
    path = prefix + ".".join(str(part) for part in item["loc"] if not _is_tag(part))
    if item["type"] == "extra_forbidden":
        allowed = _siblings(spec, item["loc"])
        near = [f"{path.rpartition('.')[0]}.{name}".lstrip(".") for name in allowed]
        return f"{path} is not a setting{where_instead(path, near)}; allowed here: {', '.join(allowed)}."
    if item["type"] == "missing":
        return f"{path} is missing; give it a value."
    message = _EXPECTED.get(item["type"], item["msg"])
    if path == "sweep.sizes" and item["type"] == "tuple_type":
        message = "must be a list, such as [10k, 40k], or a ladder, such as 15k..500k:6"
    message = message.removeprefix("Value error, ").replace("Input should be", "must be").replace("should", "must")
    if item["type"] == "value_error":
        return f"{(path or prefix or 'settings').rstrip('.')}: {message}."
    hint = ""
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        hint = value_instead(item["input"], re.findall(r"'([^']+)'", message))
    return f"{path} = {shown(item['input'])}: {message}{hint}."


def _is_tag(part: int | str) -> bool:
    """Whether pydantic added this part of a key's path to say which alternative was tried, a table by its class: <Shape>.

    No setting has angle brackets in its name, as values, list and range have their uses as names.
    """
    return str(part).startswith("<")


def _siblings(spec: type[Spec], loc: tuple[int | str, ...]) -> list[str]:
    """Names allowed beside the unknown key at `loc`."""
    current: type[BaseModel] = spec
    tables = {f"<{table.__name__}>": table for table in Spec.__subclasses__()}
    for part in loc[:-1]:
        field = current.model_fields.get(str(part))
        if _is_tag(part):
            current = tables.get(str(part), current)
        elif field is not None:
            kinds = (field.annotation, *get_args(field.annotation))  # a table, or a table or null
            current = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), current)
    return list(current.model_fields)
