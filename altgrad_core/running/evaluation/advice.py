"""`altgrad_core.advise`: a recipe for a model within a budget, for scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from altgrad_core.contracts.actions import GRADIENTS, MOMENTS, ROLES, Role
from altgrad_core.contracts.task import Task
from altgrad_core.errors import ManifestError
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.running.assembly.library import load_format
from altgrad_core.running.evaluation.advise import Advice, advise_for
from altgrad_core.running.evaluation.evaluate import Loss, subject_of
from altgrad_core.running.evaluation.subject import Batch, Subject
from altgrad_core.running.model.bits import FORWARD

FORMATS = ("e2m1", "e2m3", "e3m2", "e4m3", "e5m2", "bf16")
GRANULARITIES = ("tensor", "row")
STEPS = 4
ADVISED: tuple[Role, ...] = tuple(role for role in ROLES if role not in MOMENTS)


@dataclass(frozen=True)
class Choices:
    """What `advise` advises on, and what it chooses from.

    Attributes:
        formats: the names that each operand chooses from.
        granularities: the tilings that each operand chooses from.
        roles: the operands to advise on, by default those of the products of layers in forward passes; those of
            attention (`query`, `key`, `probability`, `value`) and gradients (`gradient`, `score_gradient`,
            `output_gradient`) as well. Gradients are rounded stochastically.
        steps: where a gradient is among the roles, losses are those after so many steps of gradient descent on the
            calibration batches, which are undone.
    """

    formats: Sequence[str] = FORMATS
    granularities: Sequence[str] = GRANULARITIES
    roles: Sequence[str] = FORWARD
    steps: int = STEPS


def advise(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    task: Task | Loss,
    calibration: Sequence[Batch],
    bits: float | None = None,
    loss_above: float | None = None,
    choices: Choices | None = None,
) -> Advice:
    """Which format and granularity each layer and role of a model should have, within one budget.

    Args:
        model: as `evaluate` takes it.
        batches: as `evaluate` takes them; the losses on them take no part in the choice.
        task: as `evaluate` takes it.
        calibration: other batches, on which every operand is quantized alone in every way, and recipes are chosen.
        bits: of an operand in the mean, at most, scales included.
        loss_above: that of the model as it is, at most.
        choices: what is advised on, and what it is chosen from.

    Raises:
        ManifestError: not exactly one budget is given, no recipe is within it, there is nothing to quantize, or a role
            is none that can be advised on.
        PluginError: a format is not installed.
        FormatError: there is no such granularity.
    """
    requested = Choices() if choices is None else choices
    subject = asking(subject_of(model, batches, task=task, calibration=calibration), requested)
    candidates = candidates_of(requested, load_format)
    return advise_for(subject, candidates, bits=bits, loss_above=loss_above)


def asking(subject: Subject, choices: Choices) -> Subject:
    """The subject with the roles to advise on, and with steps where gradients are among them.

    Raises:
        ManifestError: a role is none that can be advised on, or no step is to be taken.
    """
    roles, steps = choices.roles, choices.steps
    for role in roles:
        if role not in ADVISED:
            raise ManifestError(f'advise: no role "{role}" to advise on; one of {", ".join(ADVISED)}')
    if not roles or steps < 1:
        raise ManifestError(f"advise: expected at least one role and one step, got {len(roles)} and {steps}")
    requested: tuple[Role, ...] = tuple(role for role in ADVISED if role in roles)
    result = replace(subject, roles=requested)
    return result.descending(steps) if any(role in GRADIENTS for role in requested) else result


def candidates_of(choices: Choices, find: Callable[[str], Format]) -> list[Quantizer]:
    """Every format with every granularity."""
    scalings = [Scaling(granularity=name) for name in choices.granularities]
    return [Quantizer(find(name), scaling=scaling) for name in choices.formats for scaling in scalings]
