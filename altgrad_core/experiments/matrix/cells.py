"""The cells of a matrix: a pure function of its manifest, of what is installed, and of how finished cells ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from statistics import fmean
from typing import Any

from altgrad_core.errors import ManifestError
from altgrad_core.experiments.matrix.cell import Cell, Key, Setting, cell_of, named, with_setting
from altgrad_core.experiments.matrix.origin import origin_of
from altgrad_core.experiments.matrix.search import (
    MOST_STEPS,
    around_the_best,
    beyond_the_best,
    drawn,
    neat,
    next_probe,
    part_of,
    stable_rates,
    the_best,
)
from altgrad_core.manifest.explain import problem_at, validated
from altgrad_core.manifest.lines import Location
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.manifest.matrix import Label, Point, points, too_many
from altgrad_core.manifest.merge import dotted, location_of, value_at
from altgrad_core.manifest.schema import MatrixTable
from altgrad_core.manifest.search_schema import SearchTable
from altgrad_core.registry.registry import Registry
from altgrad_core.results.ending import Ending
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.assembly.resolved import Resolved

SEED = "run.seed"


Endings = Mapping[str, Ending]
Known = Mapping[Key, tuple[str, Mapping[str, Any]]]
"""Of cells that were resolved before, the identity and the manifest with every default written out."""


def name_of(source: ManifestFile) -> str:
    """The name of a study: that of the manifest, or of its file."""
    return str(value_at(source.data, ("run", "name")) or source.path.stem)


class Matrix:
    """A manifest with `[matrix]`, and every cell that was ever asked for.

    Args:
        known: cells of this very manifest that were resolved, and found to be distinct, with what is installed now.

    Raises:
        ManifestError: it has a mistake, two cells are one run, or there are more than `most`.
    """

    def __init__(self, source: ManifestFile, registry: Registry, *, most: int, known: Known | None = None) -> None:
        self.source, self._registry, self._made = source, registry, dict[Key, Cell]()
        self.known = known or {}
        self.table = validated(MatrixTable, source.data["matrix"], source, ("matrix",))
        self._points = points(source, self.table, most=most)
        if (bound := self.bound()) > most:
            raise too_many(source, bound, most)
        search = self.table.search
        for key in () if search is None else search.keys:
            if any(dotted(location_of(key)) in point.labels for point in self._points):
                place = ("search", "key") if search is None or search.samples is None else ("search", "ranges", key)
                raise self._error(place, f'"{key}" is an axis of the matrix too; leave out one of the two')
        if not self.known:
            self._refuse_twins()
            self._refuse_an_unknown_baseline()

    def bound(self) -> int:
        """The most cells there can be, with all that a search may add."""
        search = self.table.search
        if search is None:
            return len(self._points)
        groups = len(self.groups)
        rates = search.tried
        kept = rates if search.keep is None else min(search.keep, rates) if search.spacing is None else search.keep
        probes = search.bisections + MOST_STEPS if search.bisections else 0
        fresh = kept if search.spacing is not None else 0
        return (
            groups * (rates + fresh + probes) + (len(self._points) - groups) * kept + len(self._points) * search.further
        )

    @property
    def name(self) -> str:
        """See `name_of`."""
        return name_of(self.source)

    @property
    def seeds(self) -> tuple[Any, ...]:
        """The seeds of all combinations, those that a search comes to later included."""
        return tuple(dict.fromkeys(value_at(point.source.data, location_of(SEED)) for point in self._points))

    @cached_property
    def origin(self) -> str:
        """See `origin_of`."""
        return origin_of(self.source, self._registry)

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The points that differ in nothing but the seed."""
        result: dict[str, list[int]] = {}
        for index, point in enumerate(self._points):
            run = point.source.data.get("run")
            without_seed = {**run, "seed": None} if isinstance(run, dict) else run
            alike = json.dumps({**point.source.data, "run": without_seed}, sort_keys=True)
            result.setdefault(alike, []).append(index)
        return tuple(tuple(group) for group in result.values())

    def cells(self, endings: Endings) -> list[Cell]:
        """Every cell known so far, each once: a search adds more as cells end."""
        search = self.table.search
        if search is None:
            return [self._cell(index) for index in range(len(self._points))]
        known: dict[str, Cell] = {}
        for group in self.groups:
            for cell in self._searched(group, search, endings):
                known.setdefault(cell.identity, cell)
        return list(known.values())

    def _error(self, location: Location, message: str) -> ManifestError:
        return ManifestError(problem_at(self.source, ("matrix", *location), message))

    def _refuse_an_unknown_baseline(self) -> None:
        optimizers = [self._cell(index).manifest["optimizer"] for index in range(len(self._points))]
        tables = [table for own in optimizers for table in (own, *own.get("group", []))]
        names = list(dict.fromkeys(str(table["use"]) for table in tables if "use" in table))
        if self.table.baseline is not None and self.table.baseline.split(" (")[0] not in names:
            message = f'no cell has the optimizer "{self.table.baseline}"; there is {", ".join(names)}'
            raise self._error(("baseline",), message)

    def _searched(self, group: tuple[int, ...], search: SearchTable, endings: Endings) -> Iterator[Cell]:
        """All settings with the first seed; then all seeds, and probes, as the endings suggest."""
        pilot, others = group[0], group[1:]
        settings = self._settings(pilot, search)
        first = {rate: self._cell(pilot, setting) for rate, setting in settings.items()}
        yield from first.values()
        ended = {rate: endings[cell.name] for rate, cell in first.items() if cell.name in endings}
        if search.keep is None:
            yield from (self._cell(index, setting) for index in others for setting in settings.values())
        if len(ended) < len(settings):
            return
        if search.keep is not None:
            losses = {rate: ending.rank for rate, ending in ended.items()}
            if search.samples is None:
                kept = around_the_best(losses, keep=search.keep, spacing=search.spacing)
                settings = {rate: ((search.key, rate),) for rate in kept}
            else:
                settings = {rate: settings[rate] for rate in the_best(losses, keep=search.keep)}
            yield from (self._cell(index, setting) for index in group for setting in settings.values())
            yield from self._further(group, search, list(settings), list(first), endings)
        if search.bisections and all(ending.status != "crashed" for ending in ended.values()):
            yield from self._probes(pilot, search, list(first), ended, endings)

    def _further(
        self, group: tuple[int, ...], search: SearchTable, rates: list[float], tried: list[float], endings: Endings
    ) -> Iterator[Cell]:
        """More rates with all seeds, while their best one is at an end of those they took."""
        for _ in range(search.further):
            of_rate = {rate: [self._cell(index, ((search.key, rate),)) for index in group] for rate in rates}
            if any(cell.name not in endings for cells in of_rate.values() for cell in cells):
                return
            losses = {rate: fmean(endings[cell.name].rank for cell in cells) for rate, cells in of_rate.items()}
            rate = beyond_the_best(losses, tried=tried, spacing=search.spacing)
            if rate is None:
                return
            yield from (self._cell(index, ((search.key, rate),)) for index in group)
            rates.append(rate)

    def _settings(self, pilot: int, search: SearchTable) -> dict[float, Setting]:
        """By rate, in ascending order, what the first seed tries."""
        if search.samples is None:
            rate = self._own(pilot, search.key)
            return {rate: ((search.key, rate),) for rate in sorted({neat(rate * factor) for factor in search.factors})}
        own = {key: self._own(pilot, key, table.times is not None) for key, table in search.ranges.items()}
        settings = [tuple(own.items())]
        for sample in range(1, search.samples):
            parts = {key: part_of(search.seed, key, sample) for key in search.ranges}
            settings.append(tuple((k, drawn(table, parts[k], own[k])) for k, table in search.ranges.items()))
        return dict(sorted((dict(setting)[search.key], setting) for setting in settings))

    def _probes(
        self, pilot: int, search: SearchTable, rates: list[float], ended: dict[float, Ending], endings: Endings
    ) -> Iterator[Cell]:
        known = dict(ended)
        while (rate := next_probe(stable_rates(known), grid=rates, bisections=search.bisections)) is not None:
            if len(known) >= len(ended) + search.bisections + MOST_STEPS:
                return
            cell = replace(self._cell(pilot, ((search.key, rate),)), role="probe")
            yield cell
            ending = endings.get(cell.name)
            if ending is None or ending.status == "crashed":
                return
            known[rate] = ending

    def _own(self, index: int, key: str, must_be_above_0: bool = True) -> Any:
        """The value a point has at a searched key."""
        cell = self._cell(index)
        value = value_at(dict(cell.manifest), location_of(key))
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if must_be_above_0 and not (is_number and value > 0):
            place = ("search", "ranges", key) if self.table.search and self.table.search.samples else ("search", "key")
            message = f'"{key}" is {json.dumps(value)} in cell {cell.name}; a search needs a number above 0'
            raise self._error(place, message)
        return float(value) if must_be_above_0 else value

    def _cell(self, index: int, setting: Setting = ()) -> Cell:
        """The cell of a point; with the searched keys at their values."""
        if (index, setting) not in self._made:
            point = self._points[index]
            if setting and self.table.search is not None:
                point = with_setting(point, setting, self.table.search.key)
            key = (index, setting)
            if key in self.known:
                self._made[key] = named(point, *self.known[key], key, partial(self._resolved, point))
            else:
                self._made[key] = cell_of(point, self._registry, key)
        return self._made[index, setting]

    def _resolved(self, point: Point) -> Resolved:
        return resolve(point.source, self._registry)

    def _refuse_twins(self) -> None:
        seen: dict[str, Cell] = {}
        for index in range(len(self._points)):
            cell = self._cell(index)
            if (twin := seen.setdefault(cell.identity, cell)) is not cell:
                pair = f"{_described(twin.labels)} and {_described(cell.labels)}"
                message = f"two cells are one and the same run: {pair}; leave one out"
                raise self._error((), message)


def _described(labels: Mapping[str, Label]) -> str:
    return "(" + ", ".join(f"{axis} = {value}" for axis, value in labels.items()) + ")"
