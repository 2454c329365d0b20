"""`altgrad_core.advise`: a recipe for a model within a budget, for scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from altgrad_core.contracts.task import Task
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.running.assembly.library import load_format
from altgrad_core.running.evaluation.advise import Advice, advise_for
from altgrad_core.running.evaluation.evaluate import Loss, subject_of
from altgrad_core.running.evaluation.subject import Batch

FORMATS = ("e2m1", "e2m3", "e3m2", "e4m3", "e5m2", "bf16")
GRANULARITIES = ("tensor", "row")


def advise(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    task: Task | Loss,
    calibration: Sequence[Batch],
    bits: float | None = None,
    loss_above: float | None = None,
    formats: Sequence[str] = FORMATS,
    granularities: Sequence[str] = GRANULARITIES,
) -> Advice:
    """Which format and granularity each layer and role of a model should have, within one budget.

    Args:
        model: as `evaluate` takes it.
        batches: as `evaluate` takes them; the losses on them take no part in the choice.
        task: as `evaluate` takes it.
        calibration: other batches, on which every operand is quantized alone in every way, and recipes are chosen.
        bits: of an operand in the mean, at most, scales included.
        loss_above: that of the model as it is, at most.
        formats: the names that each operand chooses from.
        granularities: the tilings that each operand chooses from.

    Raises:
        ManifestError: not exactly one budget is given, no recipe is within it, or there is nothing to quantize.
        PluginError: a format is not installed.
        FormatError: there is no such granularity.
    """
    subject = subject_of(model, batches, task=task, calibration=calibration)
    candidates = candidates_of(formats, granularities, load_format)
    return advise_for(subject, candidates, bits=bits, loss_above=loss_above)


def candidates_of(
    formats: Sequence[str], granularities: Sequence[str], find: Callable[[str], Format]
) -> list[Quantizer]:
    """Every format with every granularity."""
    scalings = [Scaling(granularity=name) for name in granularities]
    return [Quantizer(find(name), scaling=scaling) for name in formats for scaling in scalings]
