"""What tells the cells of a study apart: format, optimizer, rate, seed, and whatever else varies over them."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from altgrad_core.contracts.actions import ROLES
from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.experiments.study.subjects import (
    COMMON,
    Flat,
    belongs,
    flatten,
    is_manifest,
    leaf,
    subjects,
    varying_keys,
)
from altgrad_core.manifest.merge import location_of, value_at

UNKNOWN = "unknown"  # the label of a cell whose manifest cannot be read
UNQUANTIZED = "fp32"
_NO_MATTER = re.compile(
    r"(run\.(name|device|threads|checkpoint_every|keep_checkpoints|evaluate_every)|(tracker|monitor|matrix)\b.*)$"
)
_COMMON = re.compile(rf"optimizer\.({'|'.join(COMMON)})\b.*$")  # of every optimizer, so no option of one
RATE_AND_USE = ("optimizer.lr", "optimizer.use")
_FORMAT = re.compile(r"recipe\[\d+\]\.\w+\.format\b")


class Labels(NamedTuple):
    """Where one cell stands in the study."""

    format: str
    optimizer: str
    rate: float | None
    seed: int | None
    variant: str

    @classmethod
    def of(cls, data: Any) -> Labels | None:
        """From plain data, as `cells.json` has them; None where that is damaged."""
        if not isinstance(data, Mapping) or data.keys() != set(cls._fields):
            return None
        if not all(isinstance(data[key], str) for key in ("format", "optimizer", "variant")):
            return None
        return cls(data["format"], data["optimizer"], _number(data["rate"]), _whole(data["seed"]), data["variant"])


NOWHERE = Labels(UNKNOWN, UNKNOWN, None, None, "")


Defaults = Mapping[str, Mapping[str, Any]]
"""By optimizer, what its options are where a manifest does not set them."""


def labels_of(
    manifests: Sequence[Mapping[str, Any]], defaults: Defaults, *, searched: Sequence[str] = ()
) -> list[Labels]:
    """The labels of every resolved manifest, from the keys that vary over all of them; what is none gets `NOWHERE`.

    Args:
        searched: what a random search varies beside the learning rate, which is another one in each setting and stands
            for all of them.
    """
    known = subjects([_without(manifest, searched) for manifest in manifests if is_manifest(manifest)])
    flat = [flatten(manifest) for manifest in known]
    columns = zip(_format_labels(known), _optimizer_labels(flat, defaults), flat, _variants(flat), strict=True)
    result = iter(
        [
            Labels(format, optimizer, _number(keys.get("optimizer.lr")), _whole(keys.get("run.seed")), variant)
            for format, optimizer, keys, variant in columns
        ]
    )
    return [next(result) if is_manifest(manifest) else NOWHERE for manifest in manifests]


def _without(manifest: Mapping[str, Any], keys: Sequence[str]) -> Mapping[str, Any]:
    """A manifest without some of its keys."""
    if not keys:
        return manifest
    less = copy.deepcopy(dict(manifest))
    for *tables, key in (location_of(key) for key in keys):
        result = value_at(less, tuple(tables))
        if isinstance(result, dict):
            result.pop(key, None)
    return less


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def format_name(choice: Any) -> str:
    """The name of a format as a manifest gives it: by name, or by its facts."""
    from altgrad_core.errors import FormatError
    from altgrad_core.numerics.minifloat import Minifloat

    if not isinstance(choice, Mapping):
        return str(choice).lower()
    try:
        return Minifloat(**choice).name
    except (FormatError, TypeError, ValueError, OverflowError, AttributeError):
        return str(choice.get("name") or UNKNOWN)


Rules = tuple[tuple[str, str], ...]  # layers, format


def rules_of(manifest: Mapping[str, Any], role: str) -> Rules:
    """The layers and the format of every rule that quantizes this role."""
    rules = [(rule["layers"], rule.get(role)) for rule in manifest.get("recipe", [])]
    return tuple((layers, format_name(table.get("format"))) for layers, table in rules if table)


def _format_labels(manifests: Sequence[Mapping[str, Any]]) -> list[str]:
    """The weight's format, or where that does not tell the cells apart, those of all roles that vary."""
    by_role = {role: [rules_of(manifest, role) for manifest in manifests] for role in ROLES}
    varying = [role for role in ROLES if len(set(by_role[role])) > 1] or ["weight"]
    named = {role: [_role_label(rules) for rules in by_role[role]] for role in varying}
    whole = list(zip(*named.values(), strict=True))
    first = [names[0] for names in whole]
    is_enough = len(set(whole)) == len(set(first))
    return first if is_enough else ["/".join(names) for names in whole]


def role_format(manifest: Mapping[str, Any], role: str) -> str:
    """What an operand is rounded to: the format of the first rule, and those of other layers where they differ."""
    return _role_label(rules_of(manifest, role))


def _role_label(rules: Rules) -> str:
    """The format of the first rule, and those of other layers where they differ."""
    if not rules:
        return UNQUANTIZED
    first = rules[0][1]
    others = [f"{layers}={format}" for layers, format in rules[1:] if format != first]
    return f"{first} ({', '.join(others)})" if others else first


def _optimizer_labels(flat: Sequence[Flat], defaults: Defaults) -> list[str]:
    """`use`, and the options that vary among the cells of the same `use`; what moves along with the rate is left out."""
    by_use: dict[str, list[Flat]] = {}
    for keys in flat:
        by_use.setdefault(str(keys.get("optimizer.use")), []).append(keys)
    options = {
        use: [key for key in varying_keys(cells) if _is_option(key) and not _follows_rate(cells, key)]
        for use, cells in by_use.items()
    }
    return [_with_options(keys, options[str(keys.get("optimizer.use"))], defaults) for keys in flat]


def _is_option(key: str) -> bool:
    return key.startswith("optimizer.") and key not in RATE_AND_USE and not _COMMON.match(key)


def _follows_rate(cells: Sequence[Flat], key: str) -> bool:
    """Whether a number belongs to each rate, another one to another rate: then both are the rate."""
    pairs = {(_number(keys.get("optimizer.lr")), _number(keys.get(key))) for keys in cells}
    rates, values = {rate for rate, _ in pairs}, {value for _, value in pairs}
    return None not in values and len(pairs) == len(rates) == len(values) > 1


def _with_options(keys: Flat, varying: Sequence[str], defaults: Defaults) -> str:
    """Of the options that vary, those that are not what the optimizer has by default."""
    use = str(keys.get("optimizer.use"))
    names = {key: key.removeprefix("optimizer.") for key in varying}
    own = defaults.get(use, {})
    options = [
        f"{name}={_shown(keys.get(key))}"
        for key, name in names.items()
        if name not in own or keys.get(key) != leaf(own[name])
    ]
    return f"{use} ({', '.join(options)})" if options else use


def installed_defaults() -> Defaults:
    """Of every installed optimizer, what its options are where nothing is said, as plain data."""
    from altgrad_core.registry.registry import installed

    return {entry.name: default_options(entry.item) for entry in installed() if entry.kind == "optimizer"}


def default_options(spec: type[OptimizerSpec]) -> dict[str, Any]:
    """What the options of an optimizer are by default, as plain data; None for one that must be given."""
    plain = (str, int, float, bool, list, tuple)
    return {n: field.default if isinstance(field.default, plain) else None for n, field in spec.model_fields.items()}


def default_of(defaults: Defaults, use: str, option: str) -> str:
    """What an option of an optimizer is where its label does not name it."""
    return _shown(defaults.get(use, {}).get(option))


def _variants(flat: Sequence[Flat]) -> list[str]:
    """Every other key that varies, `key=value`; what a recipe says of rounding and scaling, in one word where it can.

    A schedule that belongs to the setting of each optimizer is no variant of its own.
    """
    settings = [{key: value for key, value in keys.items() if _is_option(key) or key in RATE_AND_USE} for keys in flat]
    others = [
        {key: value for key, value in keys.items() if not _NO_MATTER.match(key) and _is_other(key)} for keys in flat
    ]
    recipes = [{key: value for key, value in keys.items() if key.startswith("recipe[")} for keys in others]
    rests = [
        {key: value for key, value in keys.items() if key not in recipe}
        for keys, recipe in zip(others, recipes, strict=True)
    ]
    of_recipe = _in_one_word(recipes, varying_keys(recipes, absent=False))
    of_rest = [key for key in varying_keys(rests) if not (_COMMON.match(key) and belongs([key], settings, rests))]
    return [
        ", ".join([*words, *(f"{key}={_shown(keys[key])}" for key in of_rest if key in keys)])
        for words, keys in zip(of_recipe, rests, strict=True)
    ]


def _is_other(key: str) -> bool:
    is_taken = key == "run.seed" or bool(_FORMAT.match(key)) or key in ("recipe", "intervention")
    return not is_taken and (not key.startswith("optimizer.") or bool(_COMMON.match(key)))


def _in_one_word(recipes: Sequence[Flat], varying: Sequence[str]) -> list[list[str]]:
    """`rounding=stochastic` where all rules and roles of every cell agree on it, else one entry for each path."""
    short: list[list[str]] = [[] for _ in recipes]
    for name in dict.fromkeys(key.rsplit(".", 1)[-1] for key in varying):
        paths = [key for key in varying if key.rsplit(".", 1)[-1] == name]
        agree = all(len({repr(recipe[path]) for path in paths if path in recipe}) <= 1 for recipe in recipes)
        for words, recipe in zip(short, recipes, strict=True):
            present = [path for path in paths if path in recipe]
            if agree:
                words += [f"{name}={_shown(recipe[path])}" for path in present[:1]]
            else:
                words += [f"{path}={_shown(recipe[path])}" for path in present]
    return short


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {None: "unset", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return "[" + ", ".join(_shown(each) for each in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
