"""The parts of a mixture: each names an option of the group data, of which it has the settings that it does not give."""

from collections.abc import Callable, Mapping
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.settings.data import PartSpec


def with_parts(values: Mapping[str, Any], option_of: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """Composed values with the option of each part of `data.parts` written out.

    Args:
        values: nested plain data.
        option_of: the settings of an option of the group data by its name.

    Raises:
        SpecError: a part that is no table or names neither an option nor a source.
    """
    data = values.get("data")
    if not isinstance(data, Mapping) or not isinstance(data.get("parts"), list):
        return dict(values)
    return {**values, "data": {**data, "parts": [_part(i, part, option_of) for i, part in enumerate(data["parts"])]}}


def _part(i: int, part: Any, option_of: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    if not isinstance(part, Mapping) or not {"data", "source"} & part.keys():
        raise SpecError(
            f"data.parts.{i} = {part!r}: must be a table that names an option, such as {{data: python, weight: 1}}."
        )
    if "data" not in part:  # written out before
        return dict(part)
    own = {name: value for name, value in part.items() if name != "data"}
    option = {name: value for name, value in option_of(str(part["data"])).items() if name in PartSpec.model_fields}
    return {**option, **own}
