"""The one place where a decision changes the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from altgrad_core.contracts.actions import (
    Action,
    ClipGradients,
    RollBack,
    ScaleLearningRate,
    SkipStep,
    Stop,
    SwitchFormat,
    Warn,
)
from altgrad_core.contracts.pattern import matches
from altgrad_core.errors import ManifestError, RunError
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.loop.dispatch import Decision

Ruled = set[tuple[str, str]]
"""What actions of this step have decided: layer and role of each switched operand, the learning rate, the end."""


def apply(decision: Decision, run: Run, step: int, ruled: Ruled, *, roll_back: Callable[[int], int]) -> dict[str, Any]:
    """Carry out one action; the record of what it did, with step, reason, and what was before and after.

    Of two actions of one step that decide the same thing the first wins; the other one's record says `overruled`.

    Args:
        ruled: what is decided already; this action adds to it.
        roll_back: returns to a sound checkpoint not after a step, and tells its own.
    """
    action = decision.action
    effect = (
        _rolled_back(action, run, ruled, roll_back) if isinstance(action, RollBack) else _effect(action, run, ruled)
    )
    requested = {key: dict(value) if isinstance(value, Mapping) else value for key, value in vars(action).items()}
    return {
        "kind": "overruled" if effect is None else "action",
        "step": step,
        "intervention": decision.intervention.name,
        **decision.instance,
        "action": type(action).__name__,
        "because": requested.pop("because"),
        "event": decision.event,
        "asked": requested,
        **(effect or {}),
    }


def _effect(action: Action, run: Run, ruled: Ruled) -> dict[str, Any] | None:
    """What an action changed; None where all of it was decided by others."""
    if isinstance(action, Stop):
        if _is_ruled(("end", ""), ruled):
            return None
        run.progress.stopped = "diverged" if action.diverged else "stopped"
        run.progress.reason = action.because
        return {"status": run.progress.stopped}
    if isinstance(action, SwitchFormat):
        return _switch(action, run, ruled)
    if isinstance(action, SkipStep):
        return {}
    if isinstance(action, Warn):
        return {"layer": action.layer}
    if isinstance(action, ClipGradients):
        norm = clip_gradients(run, action.max_norm, action.layer)
        return {"layer": action.layer, "before": norm, "after": min(norm, action.max_norm)}
    if isinstance(action, ScaleLearningRate) and action.reversing is not None:
        followed = run.freezing.follow(action.layer, above=action.reversing)
        return {"layer": action.layer, "layers": followed, "held": run.freezing.held()} if followed else None
    if isinstance(action, ScaleLearningRate):
        if _is_ruled(("learning rate", ""), ruled):
            return None
        before = run.progress.rate_factor
        run.progress.rate_factor = before * action.factor
        return {"before": before, "after": run.progress.rate_factor}
    raise TypeError(f"no run can carry out {action!r}")


def _rolled_back(action: RollBack, run: Run, ruled: Ruled, roll_back: Callable[[int], int]) -> dict[str, Any] | None:
    if _is_ruled(("weights", ""), ruled) or run.progress.stopped is not None:
        return None
    if run.progress.rollbacks >= action.most:
        run.progress.stopped, run.progress.reason = "diverged", f"rolled back {action.most} times: {action.because}"
        return {"status": "diverged"}
    before, to = run.progress.rate_factor, roll_back(action.not_after)
    run.progress.rollbacks += 1
    run.progress.rate_factor *= action.factor
    return {"to_step": to, "before": before, "after": run.progress.rate_factor}


def _switch(action: SwitchFormat, run: Run, ruled: Ruled) -> dict[str, Any] | None:
    operands = run.plan.operands(action.layer)
    mine: Ruled = {(operand.path, operand.role) for operand in operands if operand.role == action.role}
    lost = sorted(path for path, _ in mine & ruled)
    if lost and mine <= ruled:
        return None
    try:
        switched = run.plan.switch(action.layer, action.role, action.to, leaving=lost)
    except ManifestError as error:
        raise RunError(f"{action.because}: {error}") from None
    ruled |= mine
    run.progress.switches += len(switched)
    if isinstance(action.to, str):
        facts: dict[str, Any] = {"to": action.to, "format": run.plan.format(action.to).facts()}
    else:
        facts = {"to": dict(action.to), "formats": {s.after: run.plan.format(s.after).facts() for s in switched}}
    changed = [switch._asdict() for switch in switched]
    overruled = {"overruled": lost} if lost else {}
    return {"layer": action.layer, "role": action.role, **facts, "changed": changed, **overruled}


def _is_ruled(what: tuple[str, str], ruled: Ruled) -> bool:
    """Whether something is decided; from now on it is."""
    is_ruled = what in ruled
    ruled.add(what)
    return is_ruled


def clip_gradients(run: Run, max_norm: float, pattern: str = "*") -> float:
    """Scale the gradients of the matching layers down to a total L2 norm; the norm before."""
    chosen = {
        parameter: None  # each once, though tied layers share it
        for path, layer in run.model.named_modules()
        if pattern == "*" or matches(pattern, path)
        for parameter in layer.parameters(recurse=False)
    }
    return float(torch.nn.utils.clip_grad_norm_(list(chosen), max_norm))
