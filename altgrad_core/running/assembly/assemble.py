"""Build everything a resolved manifest names and join it into a run; no step is taken."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

from torch import nn
from torch.optim import Optimizer

from altgrad_core.contracts.actions import BACKWARD, MOMENTS
from altgrad_core.contracts.pattern import matches
from altgrad_core.errors import ManifestError
from altgrad_core.manifest.lines import Location
from altgrad_core.running.assembly.chained import chained
from altgrad_core.running.assembly.data_and_model import (
    build_batches,
    build_data,
    build_model,
    check_metrics,
    check_outputs,
    located,
)
from altgrad_core.running.assembly.environment import choose_device, prepare, reset_defaults
from altgrad_core.running.assembly.groups import Share, shares
from altgrad_core.running.assembly.library import build, layer_kinds
from altgrad_core.running.assembly.moments import missing_moments
from altgrad_core.running.assembly.plausibility import unseen_layers
from altgrad_core.running.assembly.resolved import Resolved
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.model.layers import layers_of, refusals_of
from altgrad_core.running.model.own_weights import rotated_weights
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.recipe import Rule, unmatched, unselected, without
from altgrad_core.running.model.view import watched_weights
from altgrad_core.running.parallel.processes import ALONE, Processes


def assemble(
    resolved: Resolved, processes: Processes = ALONE, *, doing: Callable[[str], None] = lambda what: None
) -> Run:
    """The run of a resolved manifest, on its device; every process assembles it whole.

    Args:
        doing: is told what is being built, before that is done.

    Raises:
        ManifestError: data too short, a rule or pattern that matches no layer, a missing device.
        PluginError: a plugin broke its contract while building.
    """
    manifest = resolved.manifest
    device = choose_device(manifest.run.device)
    prepare(device, threads=manifest.run.threads)
    doing(f"loading the data: {resolved.data.name}")
    data = build_data(resolved)
    check_metrics(resolved, data.task)
    batches = build_batches(resolved, data)
    doing(f"building the model: {resolved.model.name}")
    model = build_model(resolved, data).to(device)
    added_loss = located(resolved, ("model",), lambda: resolved.model.added_loss(data.task))
    _check_patterns(resolved, model)
    check_outputs(resolved, model, batches.validation(1)[0][0][:1].to(device), data.task)
    for index, evaluation in enumerate(resolved.evaluations):  # a mistake there is not to be found after training
        located(resolved, ("evaluate", index), partial(_try, resolved, model, evaluation.rules))
    plan = located(resolved, ("recipe",), lambda: _plan(resolved, model, resolved.rules))
    _check_grids(resolved, plan)
    if processes.rank == 0 and (problem := plan.thin_coverage()) is not None:
        warnings.warn(problem, stacklevel=2)
    optimizer = _build_optimizer(resolved, plan)
    plan.round_moments_of(optimizer)
    reset_defaults()
    return Run(
        resolved=resolved,
        model=model,
        data=data,
        batches=batches,
        plan=plan,
        optimizer=optimizer,
        device=device,
        monitors=tuple(monitor.model_copy(deep=True) for monitor in resolved.monitors),
        interventions=tuple(intervention.model_copy(deep=True) for intervention in resolved.interventions),
        processes=processes,
        added_loss=added_loss,
    )


def _plan(resolved: Resolved, model: nn.Module, rules: Sequence[Rule]) -> Plan:
    return Plan(
        model,
        rules,
        kinds=layer_kinds(resolved.registry),
        seed=resolved.manifest.run.seed,
        find=lambda name: resolved.registry.get("format", name),
    )


def _try(resolved: Resolved, model: nn.Module, rules: Sequence[Rule]) -> None:
    """Quantize the model by these rules, as an evaluation does, and undo that."""
    kept = without(rules, (*BACKWARD, *MOMENTS))
    if not kept:
        raise ManifestError("its recipe rounds nothing in a forward pass; name a role such as weight or activation")
    _plan(resolved, model, kept).remove()


def _check_grids(resolved: Resolved, plan: Plan) -> None:
    """Monitors that read grids, and freezing, need weights that have grids of their own."""
    rotated = rotated_weights(plan.known, plan.layers)
    for index, monitor in enumerate(resolved.monitors):
        path = next((path for path in rotated if matches(monitor.layers, path)), None)
        if path is not None and (monitor.reads_grids or "rungs" in monitor.needs):
            raise resolved.error(
                ("monitor", index),
                f"{monitor.name} reads the grid of weights, and that of {path} is rounded after a Hadamard transform, in another "
                "basis; choose other layers for it, or leave hadamard out of the weight",
            )


def _build_optimizer(resolved: Resolved, plan: Plan) -> Optimizer:
    params = plan.params()
    for index, group in enumerate(resolved.groups):
        if (problem := group.problem(params)) is not None:
            raise resolved.error(("optimizer", "group", index, "layers"), problem)
    parts = shares(resolved.optimizer, resolved.groups, params)
    built = chained([_build_share(resolved, share) for share in parts])
    if (problem := missing_moments(plan, parts)) is not None:
        raise resolved.error(("recipe",), problem)
    return built


def _build_share(resolved: Resolved, share: Share) -> Optimizer:
    location: Location = ("optimizer",) if share.group is None else ("optimizer", "group", share.group)
    built: Optimizer = located(resolved, location, lambda: build(share.spec, share.params))
    return built


def _check_patterns(resolved: Resolved, model: nn.Module) -> None:
    """Every layer pattern of the manifest must match something."""
    kinds = layer_kinds(resolved.registry)
    known, refused = layers_of(model, kinds), refusals_of(model, kinds)
    watched = list(watched_weights(model, known.values()))
    result: list[tuple[Location, str]] = []
    places: list[tuple[Location, Rule]] = [(("recipe", index), rule) for index, rule in enumerate(resolved.rules)]
    for number, evaluation in enumerate(resolved.evaluations):
        places += [(("evaluate", number, "recipe", index), rule) for index, rule in enumerate(evaluation.rules)]
    for place, rule in places:
        if (problem := unselected(rule.layers, known, refused)) is not None:
            result.append(((*place, "layers"), problem))
    for index, monitor in enumerate(resolved.monitors):
        if monitor.layers != "*" and (problem := unmatched(monitor.layers, watched)) is not None:
            result.append((("monitor", index, "layers"), problem))
    result = result or list(unseen_layers(resolved, watched))
    if result:
        raise ManifestError("\n".join(str(resolved.error(location, problem)) for location, problem in result))
