"""The laws of every plugin's options: a name, a sentence, and a way through a manifest and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import ValidationError

from altgrad_core.contracts.options import Options
from altgrad_core.registry.kinds import KINDS
from altgrad_core.testing.laws import Law

OptionsT = TypeVar("OptionsT", bound=Options)


def made(plugin: type[OptionsT] | OptionsT, options: dict[str, Any], *, kind: str) -> OptionsT:
    """An instance of a plugin: of the class with these options, or the instance itself, with them on top.

    Raises:
        AssertionError: it is not what the hook of its kind yields, or its options do not suit it.
    """
    cls = plugin if isinstance(plugin, type) else type(plugin)
    own = {} if isinstance(plugin, type) else plugin.model_dump()
    try:
        KINDS[kind].check(cls)
        return cls(**{**own, **options})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        hint = f"; pass it: check_{kind}({cls.__name__}, {field}=...)" if first["type"] == "missing" else ""
        raise AssertionError(f"{title(cls, kind)} cannot be made: {field}: {first['msg']}{hint}") from error
    except Exception as error:
        raise AssertionError(f"{kind} {cls.__name__}: {error}") from error


def title(plugin: type[Options] | Options, kind: str) -> str:
    """`monitor "flips"`, as messages name it."""
    return f'{kind} "{plugin.name}"'


def has_a_sentence(options: Options) -> Iterator[str]:
    """Its docstring begins with a sentence, which `altgrad list-plugins` shows."""
    summary = type(options).summary()
    if len(summary) < 2 or not summary.endswith("."):
        yield f"It begins with {summary!r}; write one line that ends with a full stop."


def options_survive_a_manifest(options: Options) -> Iterator[str]:
    """Written as JSON, as resolved.toml holds them, and read again, the options are the same; so a run can be resumed."""
    written = options.model_dump(mode="json", exclude_none=True)
    try:
        again = type(options).model_validate_json(json.dumps(written, allow_nan=False), strict=True)
    except (ValidationError, ValueError, TypeError) as error:
        yield f"{written} could not be read again: {' '.join(str(error).split())}"
        return
    if again.model_dump() != options.model_dump():
        yield f"{options.model_dump()} came back as {again.model_dump()}."


def options_are_frozen(options: Options) -> Iterator[str]:
    """Options are values: no field can be assigned to (state is in private attributes)."""
    if not type(options).model_config.get("frozen"):
        yield "This class is not frozen; leave model_config as the base has it."


OPTION_LAWS: tuple[Law, ...] = (has_a_sentence, options_survive_a_manifest, options_are_frozen)
