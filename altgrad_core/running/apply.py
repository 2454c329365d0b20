"""The one place where a decision changes the run."""

from __future__ import annotations

from typing import Any

import torch

from altgrad_core.contracts.actions import Action, ClipGradients, ScaleLearningRate, SkipStep, Stop, SwitchFormat
from altgrad_core.running.dispatch import Decision
from altgrad_core.running.recipe import matches
from altgrad_core.running.run import Run


def apply(decision: Decision, run: Run, step: int) -> dict[str, Any]:
    """Carry out one action; the record of what it did, with step, reason, and what was before and after."""
    action = decision.action
    return {
        "kind": "action",
        "step": step,
        "intervention": decision.intervention.name,
        "action": type(action).__name__,
        "because": action.because,
        **_effect(action, run),
    }


def _effect(action: Action, run: Run) -> dict[str, Any]:
    if isinstance(action, Stop):
        run.progress.stopped = "diverged" if action.diverged else "stopped"
        run.progress.reason = action.because
        return {"status": run.progress.stopped}
    if isinstance(action, SwitchFormat):
        switched = run.plan.switch(action.layer, action.role, action.to)
        run.progress.switches += len(switched)
        facts = run.plan.format(action.to).facts()
        changed = [switch._asdict() for switch in switched]
        return {"layer": action.layer, "role": action.role, "to": action.to, "format": facts, "changed": changed}
    if isinstance(action, SkipStep):
        return {}
    if isinstance(action, ClipGradients):
        norm = clip_gradients(run, action.max_norm, action.layer)
        return {"layer": action.layer, "before": norm, "after": min(norm, action.max_norm)}
    if isinstance(action, ScaleLearningRate):
        before = run.progress.rate_factor
        run.progress.rate_factor = before * action.factor
        return {"before": before, "after": run.progress.rate_factor}
    raise TypeError(f"no run can carry out {action!r}")


def clip_gradients(run: Run, max_norm: float, pattern: str = "*") -> float:
    """Scale the gradients of the matching layers down to a total L2 norm; the norm before."""
    chosen = {
        parameter: None  # each once, though tied layers share it
        for path, layer in run.model.named_modules()
        if pattern == "*" or matches(pattern, path)
        for parameter in layer.parameters(recurse=False)
    }
    return float(torch.nn.utils.clip_grad_norm_(list(chosen), max_norm))
