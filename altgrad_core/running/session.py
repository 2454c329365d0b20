"""Begin or continue a run in its directory, and see it to its end."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from altgrad_core.contracts.tracker import RunFacts, Tracker
from altgrad_core.errors import AltgradError, ManifestError, RunError
from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory, mark_latest
from altgrad_core.records.files import write_json, write_whole
from altgrad_core.records.record import Record, encode_record
from altgrad_core.records.sinks import Records
from altgrad_core.registry.registry import Registry
from altgrad_core.running.assemble import assemble
from altgrad_core.running.environment import describe_environment, differences
from altgrad_core.running.loop import Loop, perplexity_of
from altgrad_core.running.resolve import Resolved, resolve
from altgrad_core.running.run import Run
from altgrad_core.running.saving import Saver, how_to_go_on
from altgrad_core.running.signals import Signals

Show = Callable[[Record], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended, in this process.

    Attributes:
        status: `finished`, `diverged`, `stopped`, or `interrupted` (by a signal; it can be resumed).
        exit_code: as the command line returns it.
        summary: the content of `summary.json`; empty for an interrupted run.
    """

    status: str
    directory: Path
    exit_code: int
    summary: dict[str, Any]


def begin(resolved: Resolved, directory: RunDirectory, *, overwrite: bool, show: Show) -> Outcome:
    """Run a manifest from step 0 in a fresh directory.

    Raises:
        ManifestError: there is an unfinished or a different run in the directory, or the manifest cannot be assembled.
        RunError: the directory is in use or full, or the run crashed.
    """
    described = tomlkit.dumps(resolved_manifest(resolved))
    with directory, _explained(directory):
        if not overwrite:
            if directory.is_finished and directory.is_begun and directory.resolved.read_text() == described:
                return _already(directory)
            directory.refuse_to_overwrite()
        run = assemble(resolved)
        if overwrite:
            directory.clear()
        write_whole(directory.manifest, resolved.source.text.encode())
        write_json(directory.environment, describe_environment(run.device, resolved.registry))
        write_whole(directory.resolved, described.encode())
        mark_latest(directory.path)
        return _train(run, directory, show, resumed=False)


def resume(directory: RunDirectory, registry: Registry, *, strict: bool, show: Show) -> Outcome:
    """Continue a run from its newest checkpoint, bit for bit as if it had never stopped.

    Raises:
        ManifestError: there is no run in the directory.
        RunError: no checkpoint is usable, the directory is in use, or (`strict`) the environment differs.
    """
    if not directory.is_begun:
        raise ManifestError(f"{directory.path}: no run has been started here; start one with: altgrad run MANIFEST")
    with directory, _explained(directory):
        if directory.is_finished:
            return _already(directory)
        run = assemble(resolve(load_manifest(directory.resolved), registry))
        before = _read_json(directory.environment) if directory.environment.exists() else {}
        changes = differences(before, describe_environment(run.device, registry))
        if changes and strict:
            raise RunError(f"{directory.path}: --strict, and the environment differs: " + "; ".join(changes))
        for change in changes:
            show({"kind": "warning", "message": f"{change}; the result may differ from an uninterrupted run's"})
        return _train(run, directory, show, resumed=True)


def _already(directory: RunDirectory) -> Outcome:
    """The outcome of a run that ended before this command."""
    summary = _read_json(directory.summary)
    return Outcome("already " + summary["status"], directory.path, 0, summary)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError, RecursionError):
        raise RunError(f"{path}: is damaged: no JSON object; remove it to go on without it") from None


@contextmanager
def _explained(directory: RunDirectory) -> Iterator[None]:
    """What the disk refuses ends a run with one message."""
    try:
        yield
    except OSError as error:
        place, reason = error.filename or directory.path, error.strerror or error
        hint = f". {how_to_go_on(error, directory)}" if directory.is_begun else ""
        raise RunError(f"{place}: {reason}{hint}") from error


def resolved_manifest(resolved: Resolved) -> dict[str, Any]:
    """The manifest with every default written out: all that is needed to run it again, wherever it is read."""
    manifest = resolved.manifest.model_dump(mode="json", exclude_none=True)
    manifest["run"]["name"] = resolved.name
    model_options = getattr(resolved.model, "options", None)
    written = resolved.model.model_dump(mode="json", exclude_none=True) if model_options is None else model_options
    for key, options in (
        ("model", written),
        ("data", resolved.data.model_dump(mode="json", exclude_none=True)),
        ("optimizer", resolved.optimizer.model_dump(mode="json", exclude_none=True)),
    ):
        manifest[key] = {**manifest[key], **options}
    for key, members in (
        ("monitor", resolved.monitors),
        ("intervention", resolved.interventions),
        ("tracker", resolved.trackers),
    ):
        manifest[key] = [
            {"use": member.name, **member.model_dump(mode="json", exclude_none=True)} for member in members
        ]
    return manifest


def _train(run: Run, directory: RunDirectory, show: Show, *, resumed: bool) -> Outcome:
    trackers = _connect(run, directory)
    with Signals() as signals:
        records = Records(directory, trackers=trackers, show=show)
        with closing(_Closing(records)) as ending:
            saver = Saver(run, directory, records)
            started = time.perf_counter()
            try:
                restored = saver.restore() if resumed else None
                if resumed:
                    records.noticed({"kind": "resumed", "step": restored or 0, "steps": run.steps})
                saver.check_room()
                loop = Loop(run, records, saver, signals)
                if restored is None:
                    records.happened(began(run))
                    loop.begin()
                ending.status = loop.train()
                if ending.status == "interrupted":
                    saver.save(is_required=True)
                    return Outcome("interrupted", directory.path, signals.exit_code, {})
                return _finish(run, directory, records, ending.status, time.perf_counter() - started)
            except (OSError, AltgradError):
                raise
            except (
                Exception
            ) as error:  # whatever a plugin or torch raises in the loop ends here, with the traceback on file
                raise _crashed(run, directory, error) from error


class _Closing:
    """Closes the records with the status the run ended with."""

    def __init__(self, records: Records) -> None:
        self._records, self.status = records, "crashed"

    def close(self) -> None:
        self._records.close(self.status)


def _connect(run: Run, directory: RunDirectory) -> list[tuple[str, Tracker]]:
    facts = RunFacts(run.name, directory.path, resolved_manifest(run.resolved))
    connected = []
    for spec in run.resolved.trackers:
        try:
            connected.append((spec.name, spec.build(facts)))
        except AltgradError:
            raise
        except Exception as error:  # a stranger's code, before the first step
            raise RunError(f'tracker "{spec.name}": cannot begin: {type(error).__name__}: {error}') from error
    return connected


def began(run: Run) -> dict[str, Any]:
    """The first record: what the run is."""
    manifest = run.resolved.manifest
    return {
        "kind": "began",
        "name": run.name,
        "seed": manifest.run.seed,
        "steps": run.steps,
        "parameters": run.parameters(),
        "tokens_per_step": run.batches.tokens_per_step,
        "vocabulary": run.data.vocabulary,
        "data": run.data.facts,
        "formats": sorted_facts(run),
    }


def sorted_facts(run: Run) -> list[dict[str, Any]]:
    """The facts of every format in the plan, by name."""
    formats = {operand.format.name: operand.format.facts() for operand in run.plan.operands()}
    return [formats[name] for name in sorted(formats)]


def _finish(run: Run, directory: RunDirectory, records: Records, status: str, seconds: float) -> Outcome:
    progress = run.progress
    loss = progress.validation_loss
    ended = {
        "status": status,
        "reason": progress.reason,
        "step": progress.step,
        "loss": progress.loss,
        "validation_loss": loss,
        "perplexity": None if loss is None else perplexity_of(loss),
        "best_validation_loss": progress.best_loss,
        "switches": progress.switches,
        "skipped_steps": progress.skipped,
    }
    records.happened({"kind": "ended", **ended})
    summary = {
        **json.loads(encode_record(ended)),
        "name": run.name,
        "parameters": run.parameters(),
        "tokens": progress.step * run.batches.tokens_per_step,
        "seconds_in_this_process": round(seconds, 3),
        "data": run.data.facts,
        "formats": sorted_facts(run),
    }
    if status == "finished":
        directory.failure.unlink(missing_ok=True)  # of an attempt that crashed
    else:
        write_whole(directory.failure, _failure(run, status, progress.reason or "").encode())
    records.sync()
    write_json(directory.summary, summary)
    return Outcome(status, directory.path, 0 if status == "finished" else 4, summary)


def _failure(run: Run, status: str, reason: str, trace: str = "") -> str:
    progress = run.progress
    lines = [
        f"# {run.name}: {status} at step {progress.step} of {run.steps}",
        "",
        reason,
        "",
        f"Last training loss {progress.loss}, last validation loss {progress.validation_loss}.",
    ]
    return "\n".join(lines + (["", "```text", trace.rstrip(), "```"] if trace else [])) + "\n"


def _crashed(run: Run, directory: RunDirectory, error: Exception) -> RunError:
    reason = f"{type(error).__name__}: {error}"
    report = _failure(run, "crashed", reason, traceback.format_exc())
    try:
        write_whole(directory.failure, report.encode())
    except OSError:
        return RunError(f"crashed after step {run.progress.step}: {reason}")
    return RunError(
        f"crashed after step {run.progress.step}: {reason}\nThe traceback is in {directory.failure}; "
        f"once its cause is gone: altgrad resume {directory.path}"
    )
