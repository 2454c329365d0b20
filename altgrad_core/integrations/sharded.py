"""Checkpoints of a sharded model in a training script of one's own, by torch.distributed.checkpoint.

A folder holds the parts that each process has of weights and optimizer state, and the state of the plan. It can be read by
another number of processes, by one too.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from altgrad_core.errors import RunError
from altgrad_core.running.model.plan import Plan

PLAN = "plan"


def save_sharded(folder: str | Path, plan: Plan, optimizer: Optimizer) -> None:
    """Write the model of a plan, its optimizer and the plan itself; every process calls it.

    Raises:
        RunError: there is such a checkpoint already, or it cannot be written.
    """
    from torch.distributed import checkpoint

    folder = Path(folder)
    if (folder / ".metadata").exists():
        raise RunError(f"{folder}: there is a checkpoint already; give every checkpoint a folder of its own")
    state = {**_tensors(plan, optimizer), PLAN: json.dumps(plan.state_dict())}
    try:
        with _without_notice():
            checkpoint.save(state, checkpoint_id=folder, no_dist=_is_alone())  # type: ignore[attr-defined]
    except (checkpoint.api.CheckpointException, OSError) as error:
        raise RunError(f"{folder}: the checkpoint cannot be written: {_first_line(error)}") from None


def load_sharded(folder: str | Path, plan: Plan, optimizer: Optimizer) -> None:
    """Read what `save_sharded` wrote into a model, plan and optimizer that were made as those were.

    The number of processes may be another one. The format is torch's, which uses pickle: read only what you trust.

    Raises:
        RunError: there is no checkpoint, or it is of another model, optimizer or plan.
    """
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.state_dict import set_state_dict

    folder = Path(folder)
    if not (folder / ".metadata").exists():
        raise RunError(f"{folder}: there is no complete checkpoint; expected what save_sharded wrote")
    _begin_state(optimizer)
    state = {**_tensors(plan, optimizer), PLAN: ""}
    try:
        with _without_notice():
            checkpoint.load(state, checkpoint_id=folder, no_dist=_is_alone())  # type: ignore[attr-defined]
    except (checkpoint.api.CheckpointException, OSError) as error:
        raise RunError(
            f"{folder}: the checkpoint is of another model or optimizer, or damaged: {_first_line(error)}"
        ) from None
    set_state_dict(plan.model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    plan.load_state_dict(json.loads(state[PLAN]))


@contextmanager
def _without_notice() -> Iterator[None]:
    """Without torch's notice that there is one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _is_alone() -> bool:
    return not (torch.distributed.is_available() and torch.distributed.is_initialized())


def _tensors(plan: Plan, optimizer: Optimizer) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import get_state_dict

    model, state = get_state_dict(plan.model, optimizer)
    return {"model": model, "optimizer": state}


@torch.no_grad()
def _begin_state(optimizer: Optimizer) -> None:
    """Take a step without its hooks, so that all state exists; the checkpoint then replaces weights and state."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters]
    for p in parameters:
        p.grad = torch.zeros_like(p)
    with torch.random.fork_rng(devices=[]):
        inspect.unwrap(type(optimizer).step)(optimizer)
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = gradient


def _first_line(error: BaseException) -> str:
    """The first line of what one process says."""
    failures = getattr(error, "failures", None)
    inner = next(iter(failures.values()))[0] if failures else error
    return str(inner).strip().splitlines()[0] if str(inner).strip() else type(inner).__name__
