"""What a run says of itself: its resolved manifest, its first and last record, its summary, its failure report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from altgrad_core.contracts.monitor import Monitor
from altgrad_core.contracts.task import Task
from altgrad_core.numerics.format import Format
from altgrad_core.records.diagnosis import Diagnosis, as_markdown
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import encode_record
from altgrad_core.running.assembly.resolved import Resolved
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.model.operand import Operand

MOST_BITS = 10  # of a format whose rungs are recorded one by one
SUMMARY_KEYS = frozenset(
    [
        "status",
        "reason",
        "step",
        "loss",
        "validation_loss",
        "perplexity",
        "metrics",
        "best_validation_loss",
        "switches",
        "skipped_steps",
        "name",
        "tokens",
        "seconds_in_this_process",
        "parameters",
        "data",
        "task",
        "formats",
    ]
)


def resolved_manifest(resolved: Resolved) -> dict[str, Any]:
    """The manifest with every default written out: all that is needed to run it again, wherever it is read."""
    manifest = resolved.manifest.model_dump(mode="json", exclude_none=True)
    manifest["run"]["name"] = resolved.name
    if not manifest["evaluate"]:
        del manifest["evaluate"]  # so that a manifest without it is the same text as ever, and has the same hash
    for key in ("model", "data", "optimizer"):
        manifest[key] = {**manifest[key], **getattr(resolved, key).written()}
    tables = manifest["optimizer"].pop("group")
    if tables:  # at the end: in TOML, what follows an array of tables is part of it
        groups = zip(tables, resolved.groups, strict=True)
        manifest["optimizer"]["group"] = [{**table, **group.spec.written()} for table, group in groups]
    for key in ("monitor", "intervention", "tracker"):
        members = getattr(resolved, f"{key}s")
        manifest[key] = [{"use": member.name, **member.written()} for member in members]
    return manifest


def began(run: Run) -> dict[str, Any]:
    """The first record: what the run is."""
    return {
        "kind": "began",
        "name": run.name,
        "seed": run.settings.run.seed,
        "steps": run.steps,
        "tokens_per_step": run.batches.tokens_per_step,
        "vocabulary": run.data.vocabulary,
        **_facts(run),
        "readings": reading_facts(run.monitors),
    }


def reading_facts(monitors: Iterable[Monitor]) -> list[dict[str, Any]]:
    """What the monitors declare of their readings, each once."""
    result = {reading.name: reading.written() for monitor in monitors for reading in monitor.facts()}
    return list(result.values())


def ended(run: Run, status: str) -> dict[str, Any]:
    """The last record: how the run ended."""
    progress = run.progress
    return {
        "kind": "ended",
        "status": status,
        "reason": progress.reason,
        "step": progress.step,
        "loss": progress.loss,
        "validation_loss": progress.validation_loss,
        "perplexity": progress.metrics.get("perplexity"),
        "metrics": progress.metrics,
        "best_validation_loss": progress.best_loss,
        "switches": progress.switches,
        "skipped_steps": progress.skipped,
    }


def summary(run: Run, status: str, *, seconds: float) -> dict[str, Any]:
    """The content of `summary.json`; `seconds` are those of this process."""
    text = json.loads(encode_record(ended(run, status)))  # spells NaN and infinities as the records do
    del text["kind"]
    tokens = run.progress.step * run.batches.tokens_per_step
    return {**text, "name": run.name, "tokens": tokens, "seconds_in_this_process": round(seconds, 3), **_facts(run)}


def losses_of(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the summary has of the records of `[[evaluate]]`: the loss under each recipe; nothing where there is none."""
    if not evaluations:
        return {}
    losses = {record["recipe"]: record["loss"] for record in evaluations}
    return {"evaluations": json.loads(encode_record(losses))}


def failure(result: Diagnosis, directory: RunDirectory, *, trace: str = "") -> str:
    """The content of `failure.md`."""
    lines = [
        "",
        "## To see it again",
        "",
        "```sh",
        f"altgrad run {directory.resolved} --out {directory.path}-again",
        "```",
    ]
    if trace:
        lines += ["", "## Where it crashed", "", "```text", trace.rstrip(), "```"]
    return as_markdown(result) + "\n".join(lines) + "\n"


def _format_facts(format: Format) -> dict[str, Any]:
    """What defines a format; the rungs of one that no facts define, so that it is known where it is not installed."""
    facts = format.facts()
    if "exponent_bits" in facts or format.is_identity or format.bits > MOST_BITS:
        return facts
    return {**facts, "values": list(format.grid.values)}


def _facts(run: Run) -> dict[str, Any]:
    """What does not change during a run, but for formats that are switched."""
    return {
        "parameters": run.parameters(),
        "data": run.data.facts,
        "task": task_facts(run.data.task),
        "formats": format_facts(run.plan.operands()),
    }


def task_facts(task: Task) -> dict[str, Any]:
    """What is recorded of a task; `counts` is what a step has so many of."""
    return {
        "name": task.name,
        "unit": task.unit,
        "counts": "tokens" if task.per_token else "examples",
        "initial_loss": task.initial_loss,
    }


def format_facts(operands: Iterable[Operand]) -> list[dict[str, Any]]:
    """What defines the formats in force, by name."""
    formats = {operand.format.name: _format_facts(operand.format) for operand in operands}
    return [formats[name] for name in sorted(formats)]
