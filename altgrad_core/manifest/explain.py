"""Validate a part of a manifest, and say what is wrong the way a person would."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from altgrad_core.contracts.options import Table
from altgrad_core.errors import AltgradError, ManifestError
from altgrad_core.manifest.lines import Location
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.manifest.merge import dotted

_SHAPES = {
    "list_type": "an array ([...], or for tables [{header}])",
    "model_type": "a table ({{ ... }}, or {header})",
    "dict_type": "a table ({{ ... }}, or {header})",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length}",
}

MOST_PROBLEMS = 20
_BARE = re.compile("[A-Za-z0-9_-]+")  # a key of TOML that needs no quotes
TableT = TypeVar("TableT", bound=Table)


def validated(model: type[TableT], data: Any, source: ManifestFile, location: Location = ()) -> TableT:
    """`data`, which stands at `location` of the manifest, as a `model`.

    Raises:
        ManifestError: one line for every mistake: where, what came, what was expected.
    """
    try:
        text = json.dumps(data)
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        told = "a text is not Unicode: it has half a surrogate pair, or a byte that is not UTF-8"
        raise ManifestError(problem_at(source, location, told)) from None
    context = {"directory": str(source.path.resolve().parent)}
    try:
        return model.model_validate_json(text, strict=True, context=context)
    except ValidationError as error:
        result = error.errors(include_url=False)
        problems = [_problem(details, model, data, source, location) for details in result[:MOST_PROBLEMS]]
        more = [f"and {len(result) - MOST_PROBLEMS:,} more"] if len(result) > MOST_PROBLEMS else []
        raise ManifestError("\n".join(dict.fromkeys(problems + more))) from None


class Problems:
    """What is wrong with a manifest, gathered so that one message says all of it."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keep the message of an error that is raised within, and go on."""
        try:
            yield
        except AltgradError as error:
            self.messages.append(str(error))

    def refuse(self) -> None:
        """Raise all messages, a line for each.

        Raises:
            ManifestError: anything was.
        """
        if self.messages:
            raise ManifestError("\n".join(dict.fromkeys(self.messages)))


def problem_at(source: ManifestFile, location: Location, message: str) -> str:
    """`FILE:LINE: key: message`, on one line whatever is in the key and the message."""
    name = dotted(location)
    text = f"{source.where(location)}: {name}: {message}" if name else f"{source.path}: {message}"
    return text.replace("\n", "\\n")


def _problem(details: ErrorDetails, model: type[BaseModel], data: Any, source: ManifestFile, location: Location) -> str:
    inner = _without_tags(details["loc"], data)
    place = (*location, *inner)
    message = _message(details, _table_at(model, inner), place, model.__dict__.get("name") or "")
    return problem_at(source, place, message)


def _without_tags(loc: tuple[int | str, ...], data: Any) -> Location:
    """Drop the parts of a pydantic location that name a union member instead of a key."""
    kept: list[int | str] = []
    for position, part in enumerate(loc):
        is_last = position == len(loc) - 1
        if isinstance(data, dict) and (part in data or is_last):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        kept.append(part)
    return tuple(kept)


def _table_at(model: type[BaseModel], location: Location) -> type[BaseModel]:
    """The model of the table that holds the last key of a location."""
    for part in location[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((result for part in get_args(annotation) if (result := _model_in(part))), None)


def _message(details: ErrorDetails, table: type[BaseModel], location: Location, plugin: str) -> str:
    kind, got = details["type"], details.get("input")
    if kind == "extra_forbidden":
        return _unknown_key(str(location[-1]), table.model_fields, plugin)
    if kind == "missing" and isinstance(details["loc"][-1], int):  # within an array
        return f"expected more values, got {_shown(got)}"
    if kind == "missing":
        return f"missing{_described(table, location)}"
    if kind == "value_error":
        return str(details["msg"]).removeprefix("Value error, ")
    return f"expected {_expected(details, location)}, got {_shown(got)}"


def _expected(details: ErrorDetails, location: Location) -> str:
    if details["type"] == "string_pattern_mismatch":
        return f"text that matches {details['ctx']['pattern']}"
    if (words := _SHAPES.get(details["type"])) is not None:
        return words.format(header=_header(location), **details.get("ctx", {}))
    text = str(details["msg"]).removeprefix("Input should be ").split(", got ")[0]
    return f"a value {text}" if text.startswith(("greater", "less")) else text


def _header(location: Location) -> str:
    """The line of TOML that begins the table at a location: `[matrix.search]`, or `[[recipe]]` for one of an array."""
    keys = (part if _BARE.fullmatch(part) else json.dumps(part) for part in location if isinstance(part, str))
    header = f"[{'.'.join(keys)}]"
    return f"[{header}]" if location and isinstance(location[-1], int) else header


def _unknown_key(key: str, fields: Mapping[str, Any], plugin: str) -> str:
    owner = f"{plugin} has no option" if plugin else "no such key"
    near = difflib.get_close_matches(key, list(fields), n=1, cutoff=0.6)
    if near:
        return f'{owner} "{key}"; did you mean "{near[0]}"?' if plugin else f'{owner}; did you mean "{near[0]}"?'
    listed = ", ".join(fields) or "none"
    return f'{owner} "{key}"; it takes: {listed}' if plugin else f"{owner}; keys here: {listed}"


def _described(table: type[BaseModel], location: Location) -> str:
    info = table.model_fields.get(str(location[-1]))
    if info is None:
        return ""
    if info.description:
        return f"; expected {info.description}"
    if (inner := _model_in(info.annotation)) is not None:
        needed = [name for name, field in inner.model_fields.items() if field.is_required()]
        header = _header((*location, 0) if get_origin(info.annotation) is list else location)
        return f"; expected a table {header}" + (f" with {', '.join(needed)}" if needed else "")
    kinds = {str: "text", int: "an integer", float: "a number", bool: "true or false"}
    kind = kinds.get(info.annotation)  # type: ignore[arg-type]
    return f"; expected {kind}" if kind else ""


def _shown(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 80 else text[:77] + "..."
