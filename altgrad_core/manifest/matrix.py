"""`[matrix]`: one manifest for many runs. Axes, variants, inclusions and exclusions become manifests of single runs."""

from __future__ import annotations

import copy
import difflib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from altgrad_core.errors import ManifestError
from altgrad_core.manifest.explain import problem_at
from altgrad_core.manifest.lines import Location
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.manifest.merge import Data, assign, dotted, laid_over, location_of, value_at
from altgrad_core.manifest.schema import Manifest, MatrixTable

Label = str | int | float | bool
_TABLES: tuple[Location, ...] = (("run",), ("model",), ("data",), ("optimizer",))


NOT_OF_A_CELL = frozenset(["matrix", "executor"])
"""Tables that are about the study, and not about any of its runs."""


@dataclass(frozen=True)
class Setting:
    """One key of a manifest, its value, and where in the matrix that is written."""

    key: Location
    value: Any
    written: Location


@dataclass(frozen=True)
class Choice:
    """One value of an axis, or of several that advance together: what it is called and what it sets."""

    labels: Mapping[str, Label]
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Point:
    """One combination of a matrix.

    Attributes:
        labels: for every axis, what its value is called.
        make: makes the manifest of a single run.
    """

    labels: Mapping[str, Label]
    make: Callable[[], ManifestFile]

    @cached_property
    def source(self) -> ManifestFile:
        """The manifest of a single run, made when it is first asked for.

        Raises:
            ManifestError: a value of an axis cannot be set.
        """
        return self.make()


def points(source: ManifestFile, matrix: MatrixTable, *, most: int) -> list[Point]:
    """Every combination of a matrix that is not excluded, then what is included, in the order written.

    Raises:
        ManifestError: an axis is empty or no key of a manifest, an exclusion excludes nothing, or there are more than
            `most` combinations.
    """
    reader = _Reader(source)
    grids = [reader.choices(matrix), *(reader.included(index, table) for index, table in enumerate(matrix.include))]
    count = sum(math.prod(len(axis) for axis in axes) for axes in grids)
    if count > most:
        raise too_many(source, count, most, more=" and those that the search adds" if matrix.search is not None else "")
    product = [reader.point(combination) for combination in itertools.product(*grids[0])]
    more = [reader.point(combination) for axes in grids[1:] for combination in itertools.product(*axes)]
    result = [*reader.without_excluded(product, matrix.exclude), *more]
    if not result:
        raise reader.error(("exclude",), "every cell is excluded; leave one")
    return result


def too_many(source: ManifestFile, count: int, most: int, *, more: str = "") -> ManifestError:
    """The refusal of more cells than are allowed; `more`: what else is to be allowed, in an unknown number."""
    allow = f"allow them{more} with --max-cells{'' if more else f' {count}'}"
    message = f"makes up to {count:,} cells, more than the {most:,} allowed; {allow}"
    return ManifestError(problem_at(source, ("matrix",), message))


@dataclass(frozen=True)
class _Reader:
    source: ManifestFile

    def error(self, location: Location, message: str) -> ManifestError:
        return ManifestError(problem_at(self.source, ("matrix", *location), message))

    def choices(self, matrix: MatrixTable) -> list[list[Choice]]:
        """The axes of the matrix itself; those that advance together are one."""
        axes = self.axes(matrix.options, ())
        if matrix.variant:
            axes["variant"] = [
                Choice(
                    {"variant": name},
                    tuple(Setting(location_of(key), value, ("variant", name, key)) for key, value in table.items()),
                )
                for name, table in matrix.variant.items()
            ]
        for index, names in enumerate(matrix.zip):
            self._join(axes, [dotted(location_of(name)) for name in names], ("zip", index))
        return list(axes.values())

    def included(self, index: int, table: Data) -> list[list[Choice]]:
        """The axes of one `[[matrix.include]]`."""
        if not table:
            raise self.error(("include", index), "sets nothing; give it axes, or remove it")
        return list(self.axes(table, ("include", index)).values())

    def axes(self, table: Data, location: Location) -> dict[str, list[Choice]]:
        """By key, the choices of every axis of a table; keys may be dotted or tables in tables."""
        result: dict[str, list[Choice]] = {}
        for written, values in _leaves(table):
            key = location_of(".".join(str(part) for part in written))
            self._check_axis(key, values, (*location, *written))
            labels = _labels(values)
            result[dotted(key)] = [
                Choice({dotted(key): label}, (Setting(key, value, (*location, *written, index)),))
                for index, (label, value) in enumerate(zip(labels, values, strict=True))
            ]
        return result

    def point(self, combination: tuple[Choice, ...]) -> Point:
        """One combination."""
        labels = {axis: label for choice in combination for axis, label in choice.labels.items()}
        return Point(labels, partial(self._manifest, combination))

    def _manifest(self, combination: tuple[Choice, ...]) -> ManifestFile:
        """The manifest of one combination; keys within a table are set after the table."""
        data = copy.deepcopy({key: value for key, value in self.source.data.items() if key not in NOT_OF_A_CELL})
        origins = dict(self.source.settings)
        settings = sorted((s for choice in combination for s in choice.settings), key=lambda s: len(s.key))
        for setting in settings:
            self._set(data, setting)
            origins[setting.key] = (
                f"{self.source.where(('matrix', *setting.written))} (matrix.{dotted(setting.written)})"
            )
        return replace(self.source, data=data, settings=origins)

    def without_excluded(self, product: list[Point], exclusions: list[Data]) -> list[Point]:
        """The points that no exclusion matches in all its keys."""
        left = product
        for index, exclusion in enumerate(exclusions):
            kept = [point for point in left if not _matches(point, exclusion)]
            if len(kept) == len(left):
                raise self.error(("exclude", index), f"excludes nothing: no cell has {json.dumps(exclusion)}")
            left = kept
        return left

    def _set(self, data: Data, setting: Setting) -> None:
        old, value = value_at(data, setting.key), copy.deepcopy(setting.value)
        if isinstance(old, dict) and isinstance(value, dict):
            value = laid_over(old, value, setting.key)
        is_table = isinstance(old, dict) or setting.key in _TABLES
        if is_table and not isinstance(value, dict):
            name, shown = dotted(setting.key), json.dumps(value)
            message = f"{shown} would replace the table [{name}]; give tables, or name a key of it, such as {name}.KEY"
            raise self.error(setting.written, message)
        if (missing := assign(data, setting.key, value)) is not None:
            raise self.error(setting.written, f"the manifest has no {dotted(missing)}")

    def _check_axis(self, key: Location, values: Any, written: Location) -> None:
        tables = sorted(Manifest.model_fields.keys() - NOT_OF_A_CELL)
        if key[0] not in tables:
            own = sorted(MatrixTable.model_fields)
            near = difflib.get_close_matches(str(key[0]), [*tables, *own], n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"a key begins with one of {', '.join(tables)}"
            raise self.error(written, f"not a key of a manifest; {hint}")
        if not isinstance(values, list):
            raise self.error(written, f"expected a list of values, such as [{json.dumps(values)}]")
        if not values:
            raise self.error(written, "an empty axis makes no cells; give it values, or remove it")
        value = next((option for at, option in self.source.settings.items() if at == key), None)
        if value is not None:
            name = dotted(key)
            raise ManifestError(f"{value}: {name} is an axis of the matrix; set it by --set 'matrix.{name}=[...]'")

    def _join(self, axes: dict[str, list[Choice]], names: list[str], location: Location) -> None:
        """Make one axis of several."""
        for name in names:
            if name not in axes:
                raise self.error(location, f'"{name}" is not an axis (or is in two zips); axes: {", ".join(axes)}')
        lengths = {name: len(axes[name]) for name in names}
        if len(set(lengths.values())) > 1:
            text = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise self.error(location, f"these axes advance together and need equally many values; {text}")
        axes[names[0]] = [
            Choice(
                {axis: label for choice in together for axis, label in choice.labels.items()},
                tuple(setting for choice in together for setting in choice.settings),
            )
            for together in zip(*(axes[name] for name in names), strict=True)
        ]
        for name in names[1:]:
            del axes[name]


def _leaves(table: Data, location: Location = ()) -> Iterator[tuple[Location, Any]]:
    """Every value that is not a table, with its place: TOML reads an unquoted `run.seed` as a table in a table."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*location, key))
        else:
            yield (*location, key), value


def _labels(values: list[Any]) -> list[Label]:
    """What the values of an axis are called: themselves, or for tables what tells them apart."""
    return [_label(value, index, values) for index, value in enumerate(values)]


def _label(value: Any, index: int, values: list[Any]) -> Label:
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        name = value.get("use") or value.get("format") or value.get("name")
        tables = [other for other in values if isinstance(other, dict) and other is not value]
        alike = [other for other in tables if other.get("use") == value.get("use")]
        telling = [
            f"{key}={inner}"
            for key, inner in value.items()
            if isinstance(inner, str | int | float) and any(other.get(key) != inner for other in alike)
        ]
        return " ".join([*([name] if isinstance(name, str) else []), *telling]) or f"#{index}"
    return f"#{index}" if value else "none"


def _matches(point: Point, exclusion: Data) -> bool:
    """Whether a point has all the values of an exclusion; a list means any of them."""
    for written, value in _leaves(exclusion):
        key = location_of(".".join(str(part) for part in written))
        has = [point.labels.get(dotted(key)), value_at(point.source.data, key)]
        if not any(value in has for value in (value if isinstance(value, list) else [value])):
            return False
    return True
