"""Begin or continue a run in its directory, and train it to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from altgrad_core.errors import AltgradError, ManifestError, RunError
from altgrad_core.files import read_whole
from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory, mark_latest
from altgrad_core.records.files import read_json, write_json, write_whole
from altgrad_core.records.record import Record
from altgrad_core.records.sinks import Records
from altgrad_core.records.tracker_thread import TrackerThread
from altgrad_core.registry.registry import Registry
from altgrad_core.results.ending import Ending
from altgrad_core.running.assembly.assemble import assemble
from altgrad_core.running.assembly.environment import describe_environment, differences
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.assembly.resolved import Resolved
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.assembly.scripted import refuse_script
from altgrad_core.running.evaluation.after_training import evaluated_after_training
from altgrad_core.running.loop.loop import Loop
from altgrad_core.running.loop.saver import Saver, how_to_go_on
from altgrad_core.running.loop.signals import SIGNAL, Signals
from altgrad_core.running.parallel.processes import ALONE, Processes
from altgrad_core.running.session.branch import Parent, adopt
from altgrad_core.running.session.crash import crashed, diagnosed, report_crash, report_failure
from altgrad_core.running.session.describe import (
    began,
    ended,
    losses_of,
    reading_facts,
    resolved_manifest,
    summary,
    task_facts,
)
from altgrad_core.running.session.follow import follow, meet
from altgrad_core.running.session.outcome import Outcome, already, exit_code_of, outcome_of
from altgrad_core.running.session.stages import announced_compilation, telling
from altgrad_core.running.session.track import connect, tracked_run
from altgrad_core.running.state.checkpoint import checkpoint_steps

Show = Callable[[Record], None]


@dataclass(frozen=True)
class Audience:
    """Who follows a run: a person, trackers; and what is shown once the records are open."""

    show: Show
    trackers: list[TrackerThread]
    warnings: list[str]


def begin(
    resolved: Resolved,
    directory: RunDirectory,
    *,
    overwrite: bool,
    show: Show,
    parent: Parent | None = None,
    processes: Processes = ALONE,
) -> Outcome:
    """Run a manifest in a fresh directory, from step 0 or from a checkpoint of another run.

    Of several processes all call this; the first one writes.

    Raises:
        ManifestError: there is an unfinished or a different run in the directory, or the manifest cannot be assembled.
        RunError: the directory is in use or full, or the run crashed.
    """
    described = tomlkit.dumps(resolved_manifest(resolved)).encode()
    meet(processes, resolved, described)
    if processes.rank:
        return _follow(assemble(resolved, processes), directory)
    with processes.leading(), directory, _explained(directory):
        if not overwrite:
            if directory.is_finished and directory.is_begun and read_whole(directory.resolved) == described:
                return already(directory)
            directory.refuse_to_overwrite()
        run = assemble(resolved, processes, doing=telling(show))
        if parent is not None:
            adopt(run, parent)  # does it fit? it is done again once the records are open
        audience = _gather(run, directory, show)
        if overwrite:
            directory.clear()
        write_whole(directory.manifest, resolved.source.text.encode())
        write_json(directory.environment, describe_environment(run.device, resolved.plugins))
        if parent is not None:
            write_json(directory.parent, parent.written())
        write_whole(directory.resolved, described)
        mark_latest(directory.path)
        return _train(run, directory, audience, resumed=False)


def begin_again(
    resolved: Resolved, directory: RunDirectory, *, show: Show, parent: Parent | None, processes: Processes
) -> Outcome:
    """Go on with a run whose processes were started anew: from its newest checkpoint, or from step 0 if it has none.

    Raises:
        ManifestError: another run is in the directory.
        RunError: see `resume`.
    """
    try:
        is_same = read_whole(directory.resolved) == tomlkit.dumps(resolved_manifest(resolved)).encode()
    except OSError:
        is_same = False
    if is_same and checkpoint_steps(directory.checkpoints):
        return resume(directory, resolved.registry, strict=False, show=show, processes=processes)
    return begin(resolved, directory, overwrite=is_same, show=show, parent=parent, processes=processes)


def resume(
    directory: RunDirectory, registry: Registry, *, strict: bool, show: Show, processes: Processes = ALONE
) -> Outcome:
    """Continue a run from its newest checkpoint, bit for bit as if it had never stopped, on any number of processes.

    Raises:
        ManifestError: there is no run in the directory.
        RunError: no checkpoint is usable, the directory is in use, or (`strict`) the environment differs.
    """
    if not directory.is_begun:
        raise ManifestError(f"{directory.path}: no run has been started here; start one with: altgrad run MANIFEST")
    if directory.is_finished:
        with directory, _explained(directory):
            return already(directory)
    directory.refuse_links()
    with _explained(directory):
        described = read_whole(directory.resolved)
    source = load_manifest(directory.resolved)
    refuse_script(source.data, directory.path)
    resolved = resolve(source, registry)
    meet(processes, resolved, described)
    if processes.rank:
        return _follow(assemble(resolved, processes), directory)
    with processes.leading(), directory, _explained(directory):
        if directory.is_finished:  # by another command, in between
            return already(directory)
        run = assemble(resolved, processes, doing=telling(show))
        before = read_json(directory.environment) if directory.environment.exists() else {}
        changes = differences(before, describe_environment(run.device, run.resolved.plugins))
        if changes and strict:
            raise RunError(f"{directory.path}: --strict, and the environment differs: " + "; ".join(changes))
        audience = _gather(run, directory, show)
        audience.warnings.extend(f"{change}; the result may differ from an uninterrupted run's" for change in changes)
        return _train(run, directory, audience, resumed=True)


def _follow(run: Run, directory: RunDirectory) -> Outcome:
    """Train along with the first process."""
    status, interrupted = follow(run)
    if status is None:  # the first process says why
        return Outcome(directory.path, Ending("not begun"), 0)
    return Outcome(directory.path, Ending(status), interrupted if status == "interrupted" else exit_code_of(status))


@contextmanager
def _explained(directory: RunDirectory) -> Iterator[None]:
    """What the disk refuses ends a run with one message."""
    try:
        yield
    except OSError as error:
        place, reason = error.filename or directory.path, error.strerror or error
        hint = f". {how_to_go_on(error, directory)}" if directory.is_begun else ""
        raise RunError(f"{place}: {reason}{hint}") from error


def _train(run: Run, directory: RunDirectory, audience: Audience, *, resumed: bool) -> Outcome:
    """Train to the end, or to an interruption; records and trackers are closed in any case."""
    status, started = "crashed", time.perf_counter()
    with Signals(lambda notice: audience.show({"kind": SIGNAL, "message": notice})) as signals:
        records = Records(directory, trackers=audience.trackers, show=audience.show)
        saver = Saver(run, directory, records)
        try:
            for message in audience.warnings:
                records.noticed({"kind": "warning", "message": message})
            loop = _begin_or_restore(run, saver, records, signals, resumed=resumed)
            tell = telling(audience.show)
            tell("the first step")
            with announced_compilation(tell):
                status = loop.train()
            if status == "interrupted":
                saver.save(is_required=True)
                return Outcome(directory.path, Ending(status), signals.exit_code)
            return _finish(run, directory, records, status, tell, seconds=time.perf_counter() - started)
        except OSError:
            raise
        except AltgradError as error:
            if error.__cause__ is not None and not isinstance(error.__cause__, OSError):
                report_crash(run, directory, str(error))
            raise
        except BaseException as error:  # whatever a plugin or torch raises ends here, its traceback on file
            raise crashed(run, directory, error) from error
        finally:
            records.close(status)


def _begin_or_restore(run: Run, saver: Saver, records: Records, signals: Signals, *, resumed: bool) -> Loop:
    """The loop, announced where the run is fresh. A checkpoint of another run is read before records are cut back."""
    saved = saver.parent() if not resumed or saver.is_empty() else None
    parent = {"parent": adopt(run, Parent(Path(saved["run"]), saved["step"]))} if saved else {}
    restored = saver.restore() if resumed else None
    if resumed:
        facts = {"task": task_facts(run.data.task), "readings": reading_facts(run.monitors)}
        records.noticed({"kind": "resumed", "step": restored or 0, "steps": run.steps, **facts})
    saver.check_room()
    if restored is not None:
        run.processes.from_first((run.files(), False))
        return Loop(run, records, saver, signals)
    records.happened({**began(run), **parent})
    run.processes.from_first((run.files(), True))
    loop = Loop(run, records, saver, signals)
    loop.begin()
    return loop


def _gather(run: Run, directory: RunDirectory, show: Show) -> Audience:
    """The trackers that can be connected to; the others are warned of, and left out.

    Raises:
        PluginError: a package that a tracker needs is not installed.
    """
    facts = tracked_run(resolved_manifest(run.resolved), directory.path)
    trackers, warnings = connect(run.resolved.trackers, facts)
    return Audience(show, trackers, [*warnings, *filter(None, [directory.notice])])


def _finish(
    run: Run, directory: RunDirectory, records: Records, status: str, doing: Callable[[str], None], *, seconds: float
) -> Outcome:
    saved = summary(run, status, seconds=seconds)
    last = ended(run, status)  # both before the evaluations, which take the recipe of the run off its model
    evaluations = evaluated_after_training(run, doing=doing) if status == "finished" else []
    for evaluation in evaluations:
        records.happened(evaluation)
    records.happened(last)
    if status == "finished":
        for report in (directory.failure, directory.failure_data):
            report.unlink(missing_ok=True)  # of an attempt that crashed
    else:
        report_failure(directory, diagnosed(directory))
    records.sync()
    saved |= losses_of(evaluations)
    write_json(directory.summary, saved)
    return outcome_of(directory, saved)
