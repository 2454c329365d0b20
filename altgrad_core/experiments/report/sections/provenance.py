"""Completeness and provenance: every cell, on what it ran, and what emulation can and cannot tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from altgrad_core.experiments.report.blocks import Block, Section, Text, table_of
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.study.study import Result
from altgrad_core.experiments.study.wording import count, few, listed, sentence

NAME, TITLE = "provenance", "Completeness and provenance"
STATUSES = ("finished", "diverged", "stopped", "crashed", "unfinished", "missing")
EMULATED = (
    "Formats are emulated: operands are rounded to the format and multiplied in float32, with float32 accumulation and "
    "TF32 off; master weights and optimizer states are as the optimizer keeps them. Losses therefore show the "
    "cost of rounding. They do not show what hardware with narrow accumulators would give, nor any speed."
)


def provenance_section(view: View) -> Section:
    """How many cells ended how, what is wrong with the records, versions, hashes, limits."""
    results = view.study.results
    blocks: list[Block] = [Text(_sentence(results)), _completeness(view)]
    blocks += [Text(problem, "caution") for problem in view.study.problems]
    if probes := [result for result in results if result.role != "cell"]:
        verb = "is" if len(probes) == 1 else "are"
        lost = sum(result.status == "diverged" for result in probes)
        text = f"{count(len(probes), 'cell')} only helped to find the largest stable rate and {verb} in no comparison"
        blocks.append(Text(f"{text}; of these {lost or 'none'} diverged."))
    blocks += [_origin(results), *_data(results), Text(EMULATED), _cells(results)]
    return Section(NAME, TITLE, tuple(blocks))


def _sentence(results: Sequence[Result]) -> str:
    counts = Counter(result.status for result in results)
    parts = [f"{counts[status]} {status}" for status in (*STATUSES, *(set(counts) - set(STATUSES))) if counts[status]]
    return sentence(f"{count(len(results), 'cell')}: {listed(parts)}")


def _completeness(view: View) -> Block:
    formats = view.study.formats()
    optimizers = view.study.optimizers()
    rows = []
    for name in formats:
        own = [result for result in view.study.results if result.format == name]
        row = [[result for result in own if result.optimizer == optimizer] for optimizer in optimizers]
        rows.append((name, *(_of(cells) for cells in row), f"{sum(r.has_ended for r in own)} of {len(own)}"))
    return table_of(("format", *optimizers, "all"), rows, "Cells that ended (finished or diverged) of those planned.")


def _of(cells: Sequence[Result]) -> str:
    return f"{sum(cell.has_ended for cell in cells)} of {len(cells)}" if cells else ""


def _origin(results: Sequence[Result]) -> Block:
    """What differs between machines and days, each value with the number of its cells."""
    known = [result for result in results if result.environment]
    versions = [_table(result.environment.get("versions")) for result in known]
    rows = [
        (name, _counted(result.get(name) for result in versions))
        for name in dict.fromkeys(n for v in versions for n in v)
    ]
    for key in ("python", "device", "threads", "system", "machine", "cpu"):
        rows.append((key, _counted(result.environment.get(key) for result in known)))
    plugins = [_table(result.environment.get("plugins")) for result in known]
    rows.append(("plugins", _counted(", ".join(dict.fromkeys(str(d) for d in result.values())) for result in plugins)))
    filled = [row for row in rows if row[1]]
    if not filled:
        return Text("No cell has recorded where it ran.", "gap")
    return table_of(("what", "value (cells)"), filled, f"Recorded by {len(known)} of {len(results)} cells.")


def _data(results: Sequence[Result]) -> list[Block]:
    facts = [_table(result.summary.get("data")) for result in results if result.summary]
    if not any(facts):
        return []
    facts = [_flat(matches) for matches in facts]
    keys = dict.fromkeys(key for matches in facts for key in matches)
    rows = [(key.replace("_", " "), _counted(matches.get(key) for matches in facts)) for key in keys]
    rows.append(("parameters", _counted(result.summary.get("parameters") for result in results if result.summary)))
    counted: dict[str, list[object]] = {}
    for result in results:
        if result.summary:
            what = str(_table(result.summary.get("task")).get("counts", "tokens"))
            counted.setdefault(what, []).append(result.summary.get("tokens"))
    rows += [(f"{what} trained on", _counted(numbers)) for what, numbers in counted.items()]
    return [table_of(("data and model", "value (cells)"), rows)]


def _cells(results: Sequence[Result]) -> Block:
    columns = (
        "cell",
        "status",
        "format",
        "optimizer",
        "variant",
        "rate",
        "seed",
        "validation loss",
        "identity",
        "reason",
    )
    rows = [
        (
            r.name, r.status, r.format, r.optimizer, r.variant, None if r.rate is None else f"{r.rate:g}", r.seed,
            r.validation_loss, (r.identity or "")[:12], r.reason,
        )
        for r in results
    ]  # fmt: skip
    text = "Every cell; the identity is the beginning of the SHA-256 of its resolved manifest."
    return table_of(columns, rows, text, folded=f"Every cell ({len(results)})")


def _flat(facts: dict[str, object]) -> dict[str, object]:
    """The losses of simple predictors as facts of their own."""
    losses = _table(facts.get("reference_losses"))
    rest = {key: value for key, value in facts.items() if key != "reference_losses"}
    return {**rest, **{f"loss of a {name}": loss for name, loss in losses.items()}}


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _counted(values: Iterable[object]) -> str:
    counts = Counter(_spelled(value) for value in values if value not in (None, ""))
    if len(counts) == 1:
        return next(iter(counts))
    return few([f"{value} ({times})" for value, times in counts.most_common()])


def _spelled(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
