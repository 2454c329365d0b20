"""Every option changes something: set to another valid value, it changes what its plugin does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from altgrad_core.contracts.options import Options
from altgrad_core.registry.discover import Plugin
from altgrad_core.registry.registry import Entry, installed
from altgrad_core.testing.tiny import Tape, TinyDescent, bits, tiny_run, train

STEPS = 4
SHARED = ("every", "start", "end")  # the base of monitors obeys them, for all alike: one of them is tried
ENTRIES = [entry for entry in installed() if entry.kind in ("optimizer", "monitor")]
OPTIONS = [(entry, option) for entry in ENTRIES for option in entry.item.model_fields if option not in SHARED]
OPTIONS += [(entry, option) for entry in ENTRIES if entry.name == "flips" for option in SHARED]
NEEDS: dict[tuple[str, str], dict[str, Any]] = {}
"""By plugin and option: what else must be set for the option to matter."""
OTHERS: dict[tuple[str, str], list[Any]] = {
    ("manifold-adamw", "geometry"): ["e5m2"],
    ("rank-drop", "thresholds"): [{"hidden": 1e-9}, {"hidden": 0.99}],
}
"""By plugin and option: values to try, where those of its type are none that matters here."""


def others(field: FieldInfo, value: Any) -> Iterator[Any]:
    """Values of the type of an option; not all need be valid."""
    kinds = list(_kinds(field.annotation))
    if isinstance(value, bool) or (value is None and bool in kinds):
        yield not value
    elif isinstance(value, int | float):
        yield from (value * 2, value + 3, value / 2, value * 100, value / 100, 0, 1, 1e9)
        yield value // 2
    elif value is None and (int in kinds or float in kinds):
        yield from (1, 2, 3, 0.125)
    yield from (choice for choice in kinds if isinstance(choice, str) and choice != value)
    if str in kinds:
        yield from ("hidden", "e5m2", "e0m7")
    if isinstance(value, list):
        yield value[:1]
    if isinstance(value, dict):
        yield {}


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types and the choices that an annotation is made of."""
    if get_origin(annotation) in (UnionType, Union):
        for part in get_args(annotation):
            yield from _kinds(part)
    elif get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        origin = get_origin(annotation)
        yield get_args(annotation)[0] if origin is not None and hasattr(annotation, "__metadata__") else annotation


def outcome(kind: str, plugin: Options) -> Any:
    """What a plugin does in a tiny run: the weights it leads to, or all that it reports."""
    tape = Tape()
    run = tiny_run(steps=STEPS, **({"optimizer": plugin} if kind == "optimizer" else {"monitors": [plugin]}))
    train(run, tape)
    if kind == "optimizer":
        return [bits(parameter) for parameter in run.model.parameters()]
    return [repr(record) for record in tape.of("reading")]


@lru_cache(maxsize=4)
def _plain_outcome(kind: str, item: type[Options], options: str) -> Any:
    """The outcome of a plugin with these options as JSON, computed once for all options that are compared with it."""
    return outcome(kind, item.model_validate_json(options))


def changes(entry: Entry, option: str) -> list[bool]:
    """For every valid other value, until one does: whether it changes the outcome."""
    given = {**({"every": 1} if entry.kind == "monitor" else {}), **NEEDS.get((entry.name, option), {})}
    plain = entry.item(**given)
    expected, tried = _plain_outcome(entry.kind, entry.item, plain.model_dump_json()), list[bool]()
    key, field = (entry.name, option), entry.item.model_fields[option]
    for other in OTHERS.get(key, others(field, getattr(plain, option))):
        try:
            changed = entry.item(**{**given, option: other})
        except ValidationError:
            continue
        tried.append(outcome(entry.kind, changed) != expected)
        if tried[-1]:
            break
    return tried


@pytest.mark.parametrize(("entry", "option"), OPTIONS, ids=[f"{e.kind}-{e.name}-{option}" for e, option in OPTIONS])
def test_every_option_changes_something_or_is_declared_to_change_nothing(entry: Entry, option: str) -> None:
    tried = changes(entry, option)
    assert tried, "no other value that is valid is known; add one to OTHERS"
    assert any(tried) is (option not in entry.item.same_results)


class Idle(TinyDescent):
    """Gradient descent with an option that nobody reads."""

    name: ClassVar = "idle"
    unread: float = 0.5


@pytest.mark.parametrize(("option", "found"), [("unread", False), ("lr", True)])
def test_an_option_that_nobody_reads_is_found(option: str, found: bool) -> None:
    plugin = Plugin("idle", "nobody", "1")
    assert any(changes(Entry("optimizer", "idle", Idle, plugin), option)) is found


def test_the_tables_name_options_that_exist() -> None:
    known = {(entry.name, option) for entry, option in OPTIONS}
    assert NEEDS.keys() <= known and OTHERS.keys() <= known
