"""Tables and options: what a user writes in a manifest."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo


class Table(BaseModel):
    """Typed fields that refuse what they cannot use: unknown keys, wrong types, NaN and infinities."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, frozen=True, arbitrary_types_allowed=True, defer_build=True
    )


class Options(Table):
    """The options of one plugin, which has a `name`.

    Attributes:
        same_results: the options that change no result, such as those that only make it faster.
    """

    name: ClassVar[str] = ""
    same_results: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def summary(cls) -> str:
        """The first docstring line, shown by `altgrad list-plugins`."""
        return first_line(cls.__doc__ if "__doc__" in vars(cls) else "")

    def written(self) -> dict[str, Any]:
        """The options as a manifest would have them, every default written out."""
        return self.model_dump(mode="json", exclude_none=True)


class Stateful(Options):
    """Options whose private attributes (`_name = default`) are state: saved in checkpoints and restored exactly.

    State is plain data (None, bool, numbers, strings, lists, tuples, dicts) and tensors.
    """

    def state_dict(self) -> dict[str, Any]:
        """A copy of every private attribute by name."""
        return {name: copy.deepcopy(getattr(self, name)) for name in self.__private_attributes__}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; a Counter stays a Counter."""
        for name, value in state.items():
            current = getattr(self, name)
            is_container = isinstance(current, dict | list | set | tuple)
            setattr(self, name, _refilled(current, value) if is_container and value is not None else value)


def _refilled(current: Any, value: Any) -> Any:
    """`value` in a container of the kind of `current`."""
    if isinstance(current, dict) and type(current) is not dict:
        fresh = copy.copy(current)  # keeps a defaultdict's factory
        fresh.clear()
        fresh.update(value)
        return fresh
    return type(current)(value)


def first_line(text: str | None) -> str:
    """The first line of a docstring, without blanks around it."""
    return (text or "").strip().split("\n", 1)[0].strip()


def _from_manifest(path: Path, info: ValidationInfo) -> Path:
    directory = (info.context or {}).get("directory")
    return Path(cast(str, directory), path.expanduser()).absolute() if directory else path.expanduser().absolute()


ManifestPath = Annotated[Path, AfterValidator(_from_manifest)]
"""A path in a manifest: relative to the directory of that manifest, absolute once it is read."""
