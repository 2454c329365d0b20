"""Build everything a resolved manifest names and join it into a run; no step is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from altgrad_core.contracts.dataset import TokenData
from altgrad_core.errors import AltgradError, ManifestError, PluginError, reason_of
from altgrad_core.manifest.lines import Location
from altgrad_core.numerics.random import derive_key
from altgrad_core.running.assembly.chained import chained
from altgrad_core.running.assembly.environment import choose_device, prepare, reset_defaults
from altgrad_core.running.assembly.groups import Share, shares
from altgrad_core.running.assembly.library import build, layer_kinds
from altgrad_core.running.assembly.plausibility import unseen_layers
from altgrad_core.running.assembly.resolved import Resolved
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.data.batches import Batches
from altgrad_core.running.model.layers import layers_of
from altgrad_core.running.model.plan import Param, Plan
from altgrad_core.running.model.recipe import unmatched, unselected
from altgrad_core.running.model.view import watched_layers
from altgrad_core.running.parallel.processes import ALONE, Processes


def assemble(resolved: Resolved, processes: Processes = ALONE) -> Run:
    """The run of a resolved manifest, on its device; every process assembles it whole.

    Raises:
        ManifestError: data too short, a rule or pattern that matches no layer, a missing device.
        PluginError: a plugin broke its contract while building.
    """
    manifest = resolved.manifest
    device = choose_device(manifest.run.device)
    prepare(device, threads=manifest.run.threads)
    data = _build_data(resolved)
    batches = _build_batches(resolved, data)
    model = _build_model(resolved, data.vocabulary).to(device)
    _check_patterns(resolved, model)
    _check_logits(resolved, model, batches.validation(1)[0][0][:1].to(device), vocabulary=data.vocabulary)
    plan = _located(resolved, ("recipe",), lambda: _plan(resolved, model))
    optimizer = _build_optimizer(resolved, plan.params())
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
    )


def _located(resolved: Resolved, location: Location, make: Callable[[], Any]) -> Any:
    """What `make` makes; whatever a plugin raises becomes a mistake at this place of the manifest."""
    try:
        return make()
    except PluginError:
        raise
    except AltgradError as error:
        raise resolved.error(location, str(error)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # code of a plugin, before the first step
        raise resolved.error(location, reason_of(error)) from error


def _plan(resolved: Resolved, model: nn.Module) -> Plan:
    return Plan(
        model,
        resolved.rules,
        kinds=layer_kinds(resolved.registry),
        seed=resolved.manifest.run.seed,
        find=lambda name: resolved.registry.get("format", name),
    )


def _build_optimizer(resolved: Resolved, params: Sequence[Param]) -> Optimizer:
    for index, group in enumerate(resolved.groups):
        if (problem := group.problem(params)) is not None:
            raise resolved.error(("optimizer", "group", index, "layers"), problem)
    return chained([_build_share(resolved, share) for share in shares(resolved.optimizer, resolved.groups, params)])


def _build_share(resolved: Resolved, share: Share) -> Optimizer:
    location: Location = ("optimizer",) if share.group is None else ("optimizer", "group", share.group)
    built: Optimizer = _located(resolved, location, lambda: build(share.spec, share.params))
    return built


def _build_data(resolved: Resolved) -> TokenData:
    try:
        data = resolved.data.build()
    except ManifestError as error:  # it names its own key, such as data.paths[1]
        raise ManifestError(f"{resolved.source.path}: {error}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # as above
        raise resolved.error(("data",), reason_of(error)) from error
    if (problem := _data_problem(data)) is not None:
        raise PluginError(f'data set "{resolved.data.name}": {problem}')
    return data


def _data_problem(data: object) -> str | None:
    """Why this is not what a data set builds."""
    if not isinstance(data, TokenData):
        return f"build returned {type(data).__name__}; expected TokenData"
    if data.vocabulary < 2:
        return f"its vocabulary is {data.vocabulary}; expected 2 or more"
    for tokens in (data.train, data.validation):
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            return f"tokens are {tokens.dtype} of shape {tokens.shape}; expected integers of shape (tokens,)"
        for extreme in (tokens.min(), tokens.max()) if len(tokens) else ():
            if not 0 <= extreme < data.vocabulary:
                return f"token {extreme} is outside its vocabulary of {data.vocabulary}"
    return None


def _build_batches(resolved: Resolved, data: TokenData) -> Batches:
    table = resolved.manifest.data
    try:
        return Batches(
            data,
            block_size=resolved.model.block_size,
            batch_size=table.batch_size,
            accumulate=table.accumulate,
            seed=resolved.manifest.run.seed,
        )
    except ManifestError as error:
        raise resolved.error(("data",), str(error)) from None


def _build_model(resolved: Resolved, vocabulary: int) -> nn.Module:
    torch.manual_seed(derive_key(resolved.manifest.run.seed, "init"))
    model = _located(resolved, ("model",), lambda: resolved.model.build(vocabulary))
    if not isinstance(model, nn.Module):
        made = f"{type(model).__name__} {model!r}"
        raise resolved.error(("model", "use"), f"{resolved.model.name} built {made}; expected a torch.nn.Module")
    return model


def _check_patterns(resolved: Resolved, model: nn.Module) -> None:
    """Every layer pattern of the manifest must match something."""
    known, watched = layers_of(model, layer_kinds(resolved.registry)), list(watched_layers(model))
    found: list[tuple[Location, str]] = []
    for index, rule in enumerate(resolved.rules):
        if (problem := unselected(rule.layers, known)) is not None:
            found.append((("recipe", index, "layers"), problem))
    for index, monitor in enumerate(resolved.monitors):
        if monitor.layers != "*" and (problem := unmatched(monitor.layers, watched)) is not None:
            found.append((("monitor", index, "layers"), problem))
    found = found or list(unseen_layers(resolved, watched))
    if found:
        raise ManifestError("\n".join(str(resolved.error(location, problem)) for location, problem in found))


def _check_logits(resolved: Resolved, model: nn.Module, tokens: torch.Tensor, *, vocabulary: int) -> None:
    """One row of tokens must come out as logits; found here, it is no crash at step 1."""
    model.eval()
    with torch.no_grad():
        logits = _located(resolved, ("model",), lambda: model(tokens))
    expected = (*tokens.shape, vocabulary)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != expected:
        came = f"a tensor of shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise resolved.error(
            ("model",), f"it returned {came}; expected logits (batch, time, vocabulary), here {expected}"
        )
    model.train()
