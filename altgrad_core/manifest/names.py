"""Names that have a table of their own, to which others may add: checked and described by the table as it is then."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from altgrad_core.errors import FormatError
from altgrad_core.numerics import rounding, tiling


def _checked(find: Callable[[str], object], names: ModuleType) -> AfterValidator:
    """Refuses a name that `find` refuses, and says which ones there are."""

    def check(name: str) -> str:
        try:
            find(name)
        except FormatError:
            raise PydanticCustomError("name", "{expected}", {"expected": names.expected()}) from None
        return name

    return AfterValidator(check)


def _described(names: ModuleType) -> Any:
    return Field(json_schema_extra=lambda schema: schema.update(pattern=names.pattern()))


RoundingName = Annotated[str, _checked(rounding.mode_of, rounding), _described(rounding)]
GranularityName = Annotated[str, _checked(tiling.Tiling.of, tiling), _described(tiling)]
