"""The JSON Schema of manifests with everything that is installed, by which editors complete and check them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc
from typing import Any

from altgrad_core.contracts.options import Options
from altgrad_core.manifest.schema import Manifest

Schema = dict[str, Any]
Plugins = Mapping[str, Mapping[str, type[Options]]]

ALONE = ("model", "data", "optimizer")
"""Tables with `use` that stand alone: what extends a manifest adds to them, where it replaces arrays of tables."""
KINDS = {"model": "model", "data": "dataset", "optimizer": "optimizer", "group": "optimizer"}
"""The kind of plugin that these and `[[optimizer.group]]` name; that of any other table is its name."""
IMPORTED = ("model", "optimizer", "group")
"""Tables whose `use` may be an import path; the other keys are then known to what is imported alone."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DEFS = "#/$defs/"
_ABOUT = "What a run needs to know: data, model, number formats by layer, optimizer, what is measured and what is done."
_SECTION = re.compile(r"^(?:Attributes|Options):\n((?:[ \t].*\n?|\n)+)", re.MULTILINE)
_OPTION = re.compile(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", re.MULTILINE)


def manifest_schema(plugins: Plugins, formats: Sequence[str]) -> Schema:
    """The schema of a whole manifest.

    A manifest that extends another, or has a matrix, may leave out what these add.

    Args:
        plugins: the options of everything installed, by kind (`optimizer`, `dataset`) and name.
        formats: the names of the formats.
    """
    schema = _plain(Manifest.model_json_schema())
    defs: Schema = schema.pop("$defs")
    defs["QuantizerTable"]["properties"]["format"]["oneOf"][0]["enum"] = list(formats)
    rule = defs["RecipeTable"]["properties"]
    for role in [role for role, place in rule.items() if _name(place) == "QuantizerTable"]:
        table, name = rule[role], {"type": "string", "enum": list(formats), "description": "its format"}
        choice = {"if": {"type": "string"}, "then": name, "else": table, "anyOf": [table, name, {}]}
        rule[role] = {"description": table["description"], **choice}
    complete = {"required": schema.pop("required"), "properties": dict(_complete(defs, plugins))}
    del defs["RunTable"]["required"]
    schema["properties"]["extends"] = {"type": "string", "description": "the manifest that this one changes"}
    places = {**schema["properties"], "group": defs["OptimizerTable"]["properties"]["group"]}
    opened = {_name(place) for place in places.values() if "use" in defs.get(_name(place), {}).get("properties", {})}
    for table, place in places.items():
        if (own := _name(place)) in opened:
            defs |= _with_plugins(table, defs[own], plugins[KINDS.get(table, table)])
            place.get("items", place)["$ref"] = _DEFS + table
    return {
        "$schema": _DIALECT,
        **schema,
        "title": "AltGrad manifest",
        "description": _ABOUT,
        "if": {"anyOf": [{"required": ["extends"]}, {"required": ["matrix"]}]},
        "else": complete,
        "$defs": {name: descriptions for name, descriptions in defs.items() if name not in opened},
    }


def _name(place: Schema) -> str:
    """The definition that a property refers to, or the items of an array do; empty where there is none."""
    return str(place.get("items", place).get("$ref", "")).removeprefix(_DEFS)


def _with_plugins(table: str, own: Schema, plugins: Mapping[str, type[Options]]) -> Schema:
    """Definitions of a table with `use`, and of the same table for each plugin.

    `if` and `then` make the checks, with messages about the key at fault; `anyOf`, which refuses nothing, is there for
    editors that do not complete from those.
    """
    defs: Schema = {}
    needed = [] if table in ALONE else own["required"]
    for name, options in plugins.items():
        descriptions, more = _options(options, prefix=f"{table}.{name}")
        closed = {
            **descriptions,
            "properties": {**own["properties"], "use": {"const": name}, **descriptions["properties"]},
        }
        required = [*needed, *([] if table in KINDS else descriptions.get("required", []))]
        defs |= {f"{table}.{name}": {**closed, "title": name, "required": required}, **more}
    references = [{"$ref": f"{_DEFS}{table}.{name}"} for name in plugins]
    named: Schema = {"enum": list(plugins)}
    use = {"anyOf": [named, {"type": "string", "pattern": "^[^:]+:[^:]+$"}]} if table in IMPORTED else named
    whole = {
        "type": "object",
        "description": own["description"],
        "properties": {**own["properties"], "use": use},
        "required": needed,
        "allOf": [{"if": _uses(name), "then": then} for name, then in zip(plugins, references, strict=True)],
        "anyOf": [*references, {}],
    }
    return {table: whole, **defs}


def _options(options: type[Options], *, prefix: str) -> tuple[Schema, Schema]:
    """The schema of a plugin's options, and the definitions it refers to."""
    try:
        descriptions = _plain(options.model_json_schema(ref_template=f"{_DEFS}{prefix}.{{model}}"))
    except Exception:  # a type of a plugin that has no schema: its options are not checked
        return {"type": "object", "properties": {}}, {}
    more = {f"{prefix}.{model}": definition for model, definition in descriptions.pop("$defs", {}).items()}
    inherited = {key: text for cls in reversed(options.__mro__) for key, text in _descriptions(cls.__doc__ or "")}
    return {**descriptions, "properties": _described(descriptions.get("properties", {}), inherited)}, more


def _complete(defs: Schema, plugins: Plugins) -> Iterator[tuple[str, Schema]]:
    """What the tables that stand alone must have, where nothing else adds to them."""
    yield "run", {"required": defs["RunTable"]["required"]}
    for table in ALONE:
        needed = {name: _required(options) for name, options in plugins[KINDS[table]].items()}
        chosen = [{"if": _uses(name), "then": {"required": keys}} for name, keys in needed.items() if keys]
        yield table, {"required": ["use"], **({"allOf": chosen} if chosen else {})}


def _required(options: type[Options]) -> list[str]:
    return [name for name, field in options.model_fields.items() if field.is_required()]


def _uses(name: str) -> Schema:
    return {"properties": {"use": {"const": name}}, "required": ["use"]}


def _plain(schema: Any) -> Any:
    """Without what a manifest has no word for (null) and without generated titles; descriptions stand at their keys."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "anyOf" in schema and {"type": "null"} in schema["anyOf"]:
        others = [part for part in schema["anyOf"] if part != {"type": "null"}]
        schema = {**schema, **(others[0] if len(others) == 1 else {"anyOf": others})}
        if len(others) == 1:
            del schema["anyOf"]
    if schema.get("default", ...) is None:
        schema = {key: value for key, value in schema.items() if key != "default"}
    properties = schema.get("properties")
    if isinstance(properties, dict):
        described = _described(properties, dict(_descriptions(schema.get("description", ""))))
        schema = {**schema, "properties": {key: _plain(value) for key, value in described.items()}}
    rest = {key: _plain(value) for key, value in schema.items() if key not in ("title", "properties", "default")}
    return {**rest, **{key: schema[key] for key in ("properties", "default") if key in schema}}


def _described(properties: Schema, descriptions: Mapping[str, str]) -> Schema:
    """Properties with what is told of them, where they have no description of their own."""
    return {
        key: {"description": descriptions[key], **value} if key in descriptions else value
        for key, value in properties.items()
    }


def _descriptions(docstring: str) -> Iterator[tuple[str, str]]:
    """What the `Attributes:` or `Options:` of a docstring say of each name."""
    for section in _SECTION.finditer(cleandoc(docstring) + "\n"):
        for names, text in _OPTION.findall(section[1]):
            yield from ((name.strip(), " ".join(text.split())) for name in names.split(","))
