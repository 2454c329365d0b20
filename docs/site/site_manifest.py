"""The page of manifest keys, from the JSON Schema that checks manifests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from altgrad_core.cli.schema import installed_schema

Schema = Mapping[str, Any]
TABLES = {
    "RunTable": "[run]",
    "model": "[model]",
    "data": "[data]",
    "optimizer": "[optimizer]",
    "group": "[[optimizer.group]]",
    "Schedule": "optimizer.schedule",
    "RecipeTable": "[[recipe]]",
    "EvaluateTable": "[[evaluate]]",
    "QuantizerTable": "an operand of a recipe",
    "InlineFormat": "a format given by its facts",
    "monitor": "[[monitor]]",
    "intervention": "[[intervention]]",
    "tracker": "[[tracker]]",
    "executor": "[executor]",
    "MatrixTable": "[matrix]",
    "ConfirmsTable": "[matrix.confirms]",
    "SearchTable": "[matrix.search]",
    "RangeTable": "a range of matrix.search.ranges",
}
"""By definition of the schema, what a manifest calls it."""
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def manifest_page() -> str:
    """Every table of a manifest with its keys, their types and defaults."""
    schema = installed_schema()
    defs, needed = schema["$defs"], schema["else"]["properties"]
    defs["RunTable"]["required"] = needed["run"]["required"]  # of a manifest that extends no other
    parts = [
        "# Manifest keys\n\nMade from the schema by which manifests are checked; `altgrad schema` prints it. A table with `use`"
        " takes the options of that plugin as further keys.\n"
    ]
    parts += [_table(title, defs[name]) for name, title in TABLES.items()]
    return "\n".join(parts)


def _table(title: str, schema: Schema) -> str:
    about = " ".join(str(schema.get("description", "")).partition("\n\n")[0].split())
    rows = list(key_rows(schema))
    return "\n".join(
        [f"## `{title}`\n", f"{about}\n", "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    )


def key_rows(schema: Schema) -> Iterator[str]:
    """One row of a markdown table for each property of an object."""
    for key, told in schema["properties"].items():
        default = "required" if key in schema.get("required", ()) else _value(told.get("default"))
        meaning = " ".join(str(told.get("description", "")).split())
        kind = "a name" if key == "use" else kind_of(told)
        yield "| " + " | ".join(_cell(part) for part in (f"`{key}`", kind, default, meaning)) + " |"


def kind_of(told: Schema) -> str:
    """The type of a property in words."""
    if "$ref" in told:
        name = told["$ref"].rpartition("/")[2]
        return TABLES.get(name, name)
    if "if" in told:
        return f"a format, or {kind_of(told['else'])}"
    if "const" in told:
        return _value(told["const"])
    if "enum" in told:
        return " or ".join(_value(value) for value in told["enum"])
    parts = told.get("oneOf") or told.get("anyOf")
    if parts:
        return ", or ".join(dict.fromkeys(kind_of(part) for part in parts if part))
    if told.get("type") == "array":
        return f"array of {kind_of(told.get('items') or {})}"
    bounds = [f"{sign} {told[key]:g}" for key, sign in _BOUNDS.items() if key in told]
    return " ".join([str(told.get("type", "any value")), ", ".join(bounds)]).strip()


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return "`{ " + ", ".join(f"{key} = {_bare(each)}" for key, each in value.items()) + " }`"
    return f"`{_bare(value)}`"


def _bare(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
