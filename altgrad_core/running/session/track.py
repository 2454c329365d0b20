"""Trackers of a run: what they get to know of it, and handing the records of a run over to one afterwards."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from altgrad_core.contracts.actions import ROLES
from altgrad_core.contracts.tracker import TrackedRun, Tracker, TrackerSpec
from altgrad_core.errors import AltgradError, FormatError, ManifestError, PluginError, RunError, reason_of
from altgrad_core.files import read_whole
from altgrad_core.manifest.explain import validated
from altgrad_core.manifest.load import from_settings
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.records.directory import CELLS, RunDirectory
from altgrad_core.records.files import read_json
from altgrad_core.records.tracker_thread import TrackerThread, checked
from altgrad_core.registry.registry import Registry
from altgrad_core.results.playback import Playback


@dataclass(frozen=True)
class Replayed:
    """What came of handing a run over: how many records, what the tracker said at the end, and what was damaged."""

    directory: Path
    records: int
    farewell: str | None
    problems: tuple[str, ...] = ()


def tracked_run(manifest: Mapping[str, Any], directory: Path) -> TrackedRun:
    """What a tracker gets to know of the run that this resolved manifest describes."""
    return TrackedRun(
        name=manifest["run"]["name"],
        directory=directory,
        manifest=manifest,
        group=_study_name(directory.absolute().parent / CELLS),
        tags=tuple(dict.fromkeys(_tags(manifest))),
    )


def connect(specs: Sequence[TrackerSpec], facts: TrackedRun) -> tuple[list[TrackerThread], list[str]]:
    """Threads to the trackers that begin, all at once; a warning for each of the others, without which the run goes on.

    Raises:
        PluginError: a package that a tracker needs is not installed.
    """
    threads = [TrackerThread(spec.name, partial(spec.build, facts), patience=spec.patience) for spec in specs]
    begun, warnings = [], []
    try:
        for thread in threads:
            if (refusal := _refusal(thread)) is None:
                begun.append(thread)
            else:
                warnings.append(f"tracker {thread.name} is left out: {refusal}")
    except BaseException as error:
        dismiss(threads, is_patient=isinstance(error, PluginError))
        raise
    return begun, warnings


def dismiss(threads: Sequence[TrackerThread], *, is_patient: bool = True) -> None:
    """Close trackers of a run that does not begin."""
    for thread in threads:
        thread.stop("crashed") if is_patient else thread.give_up()
    for thread in threads if is_patient else ():
        thread.end()


def _refusal(thread: TrackerThread) -> str | None:
    """Why a tracker did not begin; None if it did."""
    try:
        thread.begin()
    except PluginError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a tracker is a sink: the run goes on without it
        return str(error) if isinstance(error, AltgradError) else reason_of(error)
    return None


def replay(path: Path, name: str, *, settings: Sequence[str], registry: Registry) -> Iterator[Replayed]:
    """Hand the records of a run, or of every cell of a study, over to a tracker; one result for each run.

    Options that the run itself gave this tracker hold, unless `settings` (`key=value`) say otherwise.

    Raises:
        ManifestError: no run is there, or the options do not suit the tracker.
        PluginError: there is no such tracker, or a package it needs is not installed.
        RunError: the tracker failed, or the resolved manifest is damaged.
    """
    try:
        cls: type[TrackerSpec] = registry.get("tracker", name)
    except PluginError as error:
        raise ManifestError(f"--to: {error}") from None
    runs = [(directory, _manifest(directory)) for directory in _runs(path)]
    ready = [(directory, manifest, _spec(cls, manifest, settings)) for directory, manifest in runs]
    for directory, manifest, spec in ready:
        yield _handed_over(spec, tracked_run(manifest, directory.path), directory)


def _runs(path: Path) -> list[RunDirectory]:
    """The run in a directory, or those of the cells in it, in the order of their names."""
    if (directory := RunDirectory(path)).is_begun:
        return [directory]
    cells = [RunDirectory(cell) for cell in sorted(path.iterdir())] if (path / CELLS).is_file() else []
    begun = [cell for cell in cells if cell.is_begun and cell.records.exists()]
    if not begun:
        raise ManifestError(f"{path}: no run has been started here; start one with: altgrad run MANIFEST")
    return begun


def _manifest(directory: RunDirectory) -> dict[str, Any]:
    try:
        manifest = tomllib.loads(read_whole(directory.resolved).decode())
        _ = manifest["run"]["name"], manifest["optimizer"]["use"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RunError(f"{directory.resolved}: is damaged: no resolved manifest") from None
    if not directory.records.exists():
        raise RunError(f"{directory.records}: no such file; the run has recorded nothing yet")
    return manifest


def _spec(cls: type[TrackerSpec], manifest: Mapping[str, Any], settings: Sequence[str]) -> TrackerSpec:
    """The tracker with the options of the run's own table for it, if there is one, and the settings on top."""
    own = next((dict(table) for table in manifest.get("tracker", ()) if table.get("use") == cls.name), {})
    own.pop("use", None)
    source = from_settings(settings, base=own)
    return validated(cls, source.data, source)


def _handed_over(spec: TrackerSpec, facts: TrackedRun, directory: RunDirectory) -> Replayed:
    count, records = 0, Playback(directory)
    tracker: Tracker | None = None
    try:
        tracker = checked(spec.build(facts))
        for record in records:
            tracker.write(record)
            count += 1
        connected, tracker = tracker, None
        farewell = connected.close(records.status)
    except AltgradError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # code of a plugin, or the disk or network behind it
        message = f"{facts.directory}: tracker {spec.name} failed after {count} records: {reason_of(error)}"
        raise RunError(message) from error
    finally:
        if tracker is not None:
            with suppress(Exception, SystemExit):  # what it failed of has been told
                tracker.close("crashed")
    return Replayed(facts.directory, count, farewell, tuple(records.problems))


def _study_name(path: Path) -> str | None:
    """The name of the study whose cells this file lists; None where there is no such file."""
    try:
        name = read_json(path)["name"]
    except (OSError, RunError, KeyError):
        return None
    return name if isinstance(name, str) else None


def _tags(manifest: Mapping[str, Any]) -> Iterator[str]:
    """The formats of the recipe, then the optimizers, by name."""
    for table in manifest.get("recipe", ()):
        for role in ROLES:
            if role in table:
                yield _format_name(table[role]["format"])
    optimizer = manifest["optimizer"]
    yield optimizer["use"]
    yield from (group["use"] for group in optimizer.get("group", ()) if "use" in group)


def _format_name(choice: str | Mapping[str, Any]) -> str:
    """The name of a registered format, or of one given by its facts."""
    if isinstance(choice, str):
        return choice
    try:
        return str(Minifloat(**choice).name)
    except (FormatError, TypeError):
        return "inline"
