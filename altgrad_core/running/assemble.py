"""Build everything a resolved manifest names and join it into a run; no step is taken."""

from __future__ import annotations

import torch
from torch import nn

from altgrad_core.contracts.dataset import TokenData
from altgrad_core.errors import AltgradError, FormatError, ManifestError, PluginError
from altgrad_core.manifest.explain import problem_at
from altgrad_core.numerics.random import derive_key
from altgrad_core.running.attach import linear_layers
from altgrad_core.running.batches import Batches
from altgrad_core.running.environment import choose_device
from altgrad_core.running.library import build
from altgrad_core.running.plan import Plan
from altgrad_core.running.recipe import unmatched
from altgrad_core.running.resolve import Resolved
from altgrad_core.running.run import Run


def assemble(resolved: Resolved) -> Run:
    """The run of a resolved manifest, on its device.

    Raises:
        ManifestError: data too short, a rule or pattern that matches no layer, a missing device.
        PluginError: a plugin broke its contract while building.
    """
    manifest = resolved.manifest
    device = choose_device(manifest.run.device)
    if manifest.run.threads is not None:
        torch.set_num_threads(manifest.run.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    data = _build_data(resolved)
    batches = _build_batches(resolved, data)
    model = _build_model(resolved, data.vocabulary).to(device)
    _check_patterns(resolved, model)
    find = lambda name: resolved.registry.get("format", name)  # noqa: E731 - a name for one argument
    plan = Plan(model, resolved.rules, seed=manifest.run.seed, find=find)
    try:
        optimizer = build(resolved.optimizer, plan.params())
    except (TypeError, ValueError) as error:
        if isinstance(error, AltgradError) and not isinstance(error, FormatError):
            raise
        raise resolved.error(("optimizer",), f"{resolved.optimizer.name}: {error}") from error
    return Run(resolved, model, data, batches, plan, optimizer, device)


def _build_data(resolved: Resolved) -> TokenData:
    try:
        data = resolved.data.build()
    except ManifestError as error:
        raise ManifestError(f"{resolved.source.path}: {error}") from None
    if not isinstance(data, TokenData):
        raise PluginError(f'data set "{resolved.data.name}": build returned {type(data).__name__}; expected TokenData')
    if data.vocabulary < 2:
        raise PluginError(f'data set "{resolved.data.name}": its vocabulary is {data.vocabulary}; expected 2 or more')
    highest = max(int(split.max()) if len(split) else 0 for split in (data.train, data.validation))
    if highest >= data.vocabulary:
        raise PluginError(
            f'data set "{resolved.data.name}": token {highest} is outside its vocabulary of {data.vocabulary}'
        )
    return data


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
    try:
        model = resolved.model.build(vocabulary)
    except AltgradError:
        raise
    except Exception as error:  # sizes that do not fit together, found by the model itself
        raise ManifestError(problem_at(resolved.source, ("model",), f"{type(error).__name__}: {error}")) from error
    if not isinstance(model, nn.Module):
        raise PluginError(
            f'model "{resolved.model.name}": build returned {type(model).__name__}; expected an nn.Module'
        )
    return model


def _check_patterns(resolved: Resolved, model: nn.Module) -> None:
    """Every layer pattern of the manifest must match something."""
    linear = list(linear_layers(model))
    for index, rule in enumerate(resolved.rules):
        if (problem := unmatched(rule.layers, linear)) is not None:
            raise resolved.error(("recipe", index, "layers"), problem)
    from altgrad_core.running.view import watched_layers

    watched = list(watched_layers(model))
    for index, monitor in enumerate(resolved.monitors):
        if monitor.layers != "*" and (problem := unmatched(monitor.layers, watched)) is not None:
            raise resolved.error(("monitor", index, "layers"), problem)
