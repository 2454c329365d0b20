"""Whether what a manifest asks of monitors and interventions can ever come about."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from altgrad_core.contracts.events import WHOLE_MODEL, Began, Ended, Evaluated, Event
from altgrad_core.contracts.intervention import RUN_READINGS, Intervention
from altgrad_core.contracts.monitor import Monitor
from altgrad_core.contracts.pattern import matches
from altgrad_core.manifest.lines import Location
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.manifest.schema import RunTable
from altgrad_core.records.directory import RunDirectory
from altgrad_core.running.assembly.resolved import Resolved
from altgrad_core.running.model.recipe import unmatched

Problem = tuple[Location, str]
"""Where in the manifest, and what is wrong."""


def contradictions(resolved: Resolved) -> Iterator[Problem]:
    """What can never happen, in the order of the manifest; the length of the run counts unless it is a trial."""
    run = resolved.manifest.run
    for index, monitor in enumerate(resolved.monitors):
        yield from _never_due(monitor, ("monitor", index))
    if not _is_trial(resolved.source):
        yield from _too_short(resolved, run)
    for index, intervention in enumerate(resolved.interventions):
        location: Location = ("intervention", index)
        yield from _of_no_layer(intervention, location)
        for earlier, other in enumerate(resolved.interventions[:index]):
            if (why := intervention.contradicts(other)) is not None:
                yield location, f"contradicts intervention[{earlier}], {other.name}: {why}"


def unseen_layers(resolved: Resolved, watched: Iterable[str]) -> Iterator[Problem]:
    """Interventions that look for a layer which does not exist, or which no monitor they read looks at.

    Args:
        watched: every layer with a weight matrix.
    """
    paths = list(watched)
    for index, intervention in enumerate(resolved.interventions):
        monitors = [monitor for monitor in resolved.monitors if set(monitor.readings()) & set(intervention.wants())]
        seen = [path for path in paths if any(matches(monitor.layers, path) for monitor in monitors)]
        for pattern in intervention.names_layers():
            if pattern == "*":
                continue
            location: Location = ("intervention", index, "layers")
            if (problem := unmatched(pattern, paths)) is not None:
                yield location, problem
            elif not any(matches(pattern, path) for path in seen):
                who = ", ".join(f'{monitor.name} (layers = "{monitor.layers}")' for monitor in monitors)
                yield location, f'no layer that matches "{pattern}" is observed by {who}'


def readings_in(monitor: Monitor, run: RunTable, *, first: int = 0) -> int:
    """How often a monitor reports in a run that goes to its end.

    Args:
        first: the step before which it reports nothing.
    """
    if monitor.on in (Began, Ended):
        return int(monitor.is_active(0 if monitor.on is Began else run.steps))
    begin, end = max(monitor.start, first, 1), min(run.steps, run.steps if monitor.end is None else monitor.end)
    if monitor.on is not Evaluated:
        return _multiples(monitor.every, begin, end)
    if run.evaluate_every is None:
        return int(begin <= run.steps <= end and run.steps % monitor.every == 0)
    regular = _multiples(math.lcm(monitor.every, run.evaluate_every), begin, end)
    is_extra = run.steps % run.evaluate_every != 0 and run.steps % monitor.every == 0 and end == run.steps
    return regular + is_extra


def _never_due(monitor: Monitor, location: Location) -> Iterator[Problem]:
    """Bounds that leave no step, however long the run."""
    start, end, every = max(monitor.start, 1), monitor.end, monitor.every
    if end is None or monitor.on is Ended:
        return
    if end < monitor.start:
        message = f"{monitor.name} would never observe: it ends at step {end} and starts at step {monitor.start}"
        yield (*location, "end"), f"{message}; expected an end that is not before the start"
    elif monitor.on is not Began and not _multiples(every, start, end):
        message = f"{monitor.name} would never report: no step from {start} to {end} is a multiple of every = {every}"
        yield (*location, "every"), message


def _too_short(resolved: Resolved, run: RunTable) -> Iterator[Problem]:
    """What would come after the end of the run."""
    warmup = resolved.manifest.optimizer.schedule.warmup
    if warmup > run.steps:
        message = f"the learning rate would still be warming up at the end: {warmup} steps of warm-up"
        yield ("optimizer", "schedule", "warmup"), f"{message}, and the run has {run.steps}"
    for index, monitor in enumerate(resolved.monitors):
        if monitor.on in (Began, Ended):
            continue
        for reading in monitor.readings():
            if (first := monitor.begins(reading, run.steps)) > run.steps:
                key = "start" if first == monitor.start else "warmup" if hasattr(monitor, "warmup") else ""
                message = f'{monitor.name} reports "{reading}" from step {first} on, and the run has {run.steps}'
                yield ("monitor", index, *([key] if key else [])), message
                break
    for index, intervention in enumerate(resolved.interventions):
        yield from _starved(resolved, intervention, ("intervention", index))


def _starved(resolved: Resolved, intervention: Intervention, location: Location) -> Iterator[Problem]:
    """An intervention that cannot get as many readings as it waits for."""
    for place, reading in enumerate(intervention.wants()):
        count, monitors = _readings_of(resolved, reading)
        who = " and ".join(_cadence(monitor) for monitor in monitors)
        if count == 0:
            message = (
                f'{intervention.name} reads "{reading}", which would never come in {resolved.manifest.run.steps} steps'
            )
            yield location, f"{message}: {who}; let it report more often, or give the run more steps"
            return
        is_asked_for = bool(monitors) or "patience" in intervention.model_fields_set
        if place == 0 and is_asked_for and intervention.waits_for() > count:
            message = (
                f'{intervention.name} waits for {intervention.waits_for()} readings of "{reading}", and only {count}'
            )
            come = "comes" if count == 1 else "come"
            why = f": {who}" if who else ""
            steps = f"in {resolved.manifest.run.steps} steps"
            yield (
                (*location, "patience"),
                f"{message} {come} {steps}{why}; reduce its patience, or provide more readings",
            )
            return


def _readings_of(resolved: Resolved, reading: str) -> tuple[int, list[Monitor]]:
    """How often a reading comes, and the monitors that it comes from; none where the run itself reports it."""
    run = resolved.manifest.run
    monitors = [monitor for monitor in resolved.monitors if reading in monitor.readings()]
    count = sum(readings_in(monitor, run, first=monitor.begins(reading, run.steps)) for monitor in monitors)
    if reading in RUN_READINGS:
        count += _events(RUN_READINGS[reading], run)
    return count, monitors


def _events(kind: type[Event], run: RunTable) -> int:
    """How many events of a kind there are in training, from the first step on."""
    return run.steps if kind is not Evaluated else math.ceil(run.steps / (run.evaluate_every or run.steps))


def _cadence(monitor: Monitor) -> str:
    what = "every step" if monitor.every == 1 else f"every {monitor.every} steps"
    bounds = f" from {monitor.start}" if monitor.start else ""
    bounds += f" to {monitor.end}" if monitor.end is not None else ""
    of = " that is evaluated" if monitor.on is Evaluated else ""
    return f"{monitor.name} reports {what}{bounds}{of}"


def _of_no_layer(intervention: Intervention, location: Location) -> Iterator[Problem]:
    """A pattern of layers for readings that belong to the whole model."""
    if any(reading not in RUN_READINGS for reading in intervention.wants()):
        return
    for pattern in intervention.names_layers():
        if not matches(pattern, WHOLE_MODEL):
            message = f'{intervention.name} reads "{intervention.wants()[0]}", which is of the whole model'
            yield (*location, "layers"), f'{message}; leave layers out, got "{pattern}"'


def _multiples(of: int, first: int, last: int) -> int:
    """How many whole numbers from `first` to `last` are multiples; `first` is at least 1."""
    return max(0, last // of - (first - 1) // of)


def _is_trial(source: ManifestFile) -> bool:
    """Whether the steps tell nothing of what was meant: cut short by `--steps`, or written down by such a run."""
    directory = RunDirectory(source.path.absolute().parent)
    is_written = directory.is_begun and directory.resolved == source.path.absolute()
    return is_written or source.settings.get(("run", "steps")) == "--steps"
