"""The pieces for a training script of one's own: load a format, quantize a model, build an optimizer."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.optim import Optimizer

from altgrad_core.contracts.actions import ROLES
from altgrad_core.contracts.layer import LayerSpec
from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.errors import FormatError, ManifestError, PluginError
from altgrad_core.manifest.schema import GroupTable
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.registry.registry import Registry, installed
from altgrad_core.running.assembly.chained import chained
from altgrad_core.running.assembly.copying import make_copyable
from altgrad_core.running.assembly.grids import Grids
from altgrad_core.running.assembly.groups import Group, shares
from altgrad_core.running.assembly.imported_optimizer import imported_optimizer
from altgrad_core.running.assembly.sharded_trial import refuse_unshardable
from altgrad_core.running.assembly.step_seed import seed_steps
from altgrad_core.running.assembly.widths import parameter_groups, scale_rates
from altgrad_core.running.model.param import Param
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.recipe import Rule
from altgrad_core.running.model.replicas import group_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup


def load_format(name: str = "", **facts: Any) -> Format:
    """A registered format by name, or one made of facts: `load_format(exponent_bits=4, mantissa_bits=3, bias=8)`.

    Raises:
        PluginError: no installed format has this name.
        FormatError: the facts contradict each other.
    """
    if not (facts or name):
        raise FormatError("load_format: give a name, or exponent_bits and mantissa_bits")
    if facts:
        try:
            return Minifloat(name=name, **facts)
        except TypeError as error:
            raise FormatError(f"load_format: {error}; give a name, or exponent_bits and mantissa_bits") from None
    result: Format = installed().get("format", name)
    return result


def quantize_model(
    model: nn.Module, rules: Sequence[Rule], *, seed: int = 0, process_group: ProcessGroup | None = None
) -> Plan:
    """Quantize the layers of `model` in place, as the rules say; the model's source stays untouched.

    Args:
        seed: names every random stream of the plan, and of optimizers that `build_optimizer` makes for it.
        process_group: the processes that hold replicas of the model, as under DistributedDataParallel; by default all of
            torch.distributed, if it is initialized. Delayed scales and counts are then those of all replicas.

    Raises:
        ManifestError: a rule matches no layer or names a role that none of them has, the model is quantized already, or these
            are no model and no list of rules.
    """
    _check_kinds(model, rules)
    if not isinstance(seed, Integral) or seed < 0:
        raise ManifestError(f"seed is {seed!r}; expected a whole number, 0 or more")
    kinds = layer_kinds(installed())
    plan = Plan(
        model,
        [with_formats(rule) for rule in rules],
        kinds=kinds,
        find=load_format,
        seed=int(seed),
        replicas=partial(group_of, process_group),
    )
    if (problem := plan.thin_coverage()) is not None:
        warnings.warn(problem, stacklevel=2)
    return plan


def _check_kinds(model: Any, rules: Any) -> None:
    """Whether these are a model and a list of rules."""
    if not isinstance(model, nn.Module):
        raise ManifestError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
    strangers = [rules] if isinstance(rules, (Rule, str, Mapping)) else [r for r in rules if not isinstance(r, Rule)]
    if strangers:
        raise ManifestError(
            f'rules: expected a list of Rule, as [Rule("*", weight="e4m3")], and a {type(strangers[0]).__name__} is '
            + ("no list" if strangers[0] is rules else "none")
        )


def layer_kinds(registry: Registry) -> list[LayerSpec]:
    """The installed kinds of layers."""
    return [registry.get("layer", name)() for name in registry.names("layer")]


def build_optimizer(
    name: str, params: Iterable[Param], *, groups: Sequence[dict[str, Any]] = (), **options: Any
) -> Optimizer:
    """An optimizer for the parameters of a plan, with its options.

    Args:
        name: an installed optimizer, or the import path of a class, such as `torch.optim:NAdam`.
        groups: tables as `[[optimizer.group]]` has them, such as `{"layers": "lm_head", "lr": 0.01}`; later ones win.

    Raises:
        PluginError: there is no such optimizer, or it refuses its options.
        ManifestError: a pattern of `groups` matches no layer, or an optimizer cannot train its parameters.
        pydantic.ValidationError: an option is unknown or of the wrong type.
    """
    params = list(params)
    if not all(isinstance(param, Param) for param in params):
        raise PluginError("build_optimizer takes the parameters of a plan: build_optimizer(name, plan.params())")
    _check_optimizer(name, groups)
    chosen = [_group(GroupTable(**group), name, options) for group in groups]
    for index, group in enumerate(chosen):
        if (problem := group.problem(params)) is not None:
            raise ManifestError(f"groups[{index}].layers: {problem}")
    optimizer = make_copyable(
        chained([build(share.spec, share.params) for share in shares(_spec(name, options), chosen, params)])
    )
    if (moment := next((param.moment for param in params), None)) is not None:
        seed_steps(optimizer, moment)
    return optimizer


def _check_optimizer(name: Any, groups: Any) -> None:
    if not isinstance(name, str):
        raise PluginError(
            f'name is {name!r}; expected the name of an optimizer, as "adamw", or an import path, as "torch.optim:SGD"'
        )
    if ":" not in name and "." in name and name.lower() not in installed().names("optimizer"):
        raise PluginError(
            f'no optimizer "{name}"; for a class, write its import path as "{":".join(name.rsplit(".", 1))}"'
        )
    if isinstance(groups, Mapping | str) or not all(isinstance(table, Mapping) for table in groups):
        raise ManifestError(
            f'groups is {groups!r}; expected a list of tables, as [{{"layers": "lm_head", "lr": 0.01}}]'
        )


def _group(table: GroupTable, name: str, options: dict[str, Any]) -> Group:
    whole = table.over(name, options)
    return Group(table.layers, _spec(whole.use, whole.options), table.only)


def _spec(name: str, options: dict[str, Any]) -> OptimizerSpec:
    if ":" not in name:
        result: type[OptimizerSpec] = installed().get("optimizer", name)
        return result(**options)
    spec = imported_optimizer(name)(**options)
    if (refusal := spec.refusal()) is not None:
        raise PluginError(": ".join((*refusal.key, refusal.message)))
    return spec


def build(spec: OptimizerSpec, params: Sequence[Param]) -> Optimizer:
    """The optimizer of a spec; `initial_lr` is set in every group.

    Raises:
        ManifestError: the model needs rates that go with its width, and the optimizer does not say how.
    """
    rotated: dict[Tensor, str] = {param.tensor: param.path for param in params if param.is_rotated}
    geometry = Grids(
        {param.tensor: param.geometry for param in params if param.geometry is not None}, rotated, spec.name
    )
    refuse_unshardable(spec, params)
    optimizer = spec.build(parameter_groups(params), geometry)
    if not isinstance(optimizer, Optimizer):
        raise PluginError(f'optimizer "{spec.name}": build returned {optimizer!r}; expected a torch.optim.Optimizer')
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    scale_rates(optimizer, spec, params)
    return make_copyable(optimizer)


def with_formats(rule: Rule) -> Rule:
    """The rule with the installed formats in the place of their names.

    Raises:
        ManifestError: what it has for a role is none of a quantizer, a format and a name.
    """
    if not isinstance(rule.layers, str):
        raise ManifestError(
            f'layers of a rule is {rule.layers!r}; expected a pattern, as "blocks.*", several of them separated by |'
        )
    quantizers = {role: _with_format(q, role) for role in ROLES if (q := getattr(rule, role)) is not None}
    return Rule(rule.layers, **quantizers)


def _with_format(quantizer: Quantizer | Format | str, role: str) -> Quantizer:
    if isinstance(quantizer, (Format, str)):
        quantizer = Quantizer(quantizer)
    if not isinstance(quantizer, Quantizer):
        raise ManifestError(
            f"{role} is a {type(quantizer).__name__}; expected a Quantizer, a format, or the name of one"
        )
    is_name = isinstance(quantizer.format, str)
    return replace(quantizer, format=load_format(quantizer.format)) if is_name else quantizer  # type: ignore[arg-type]
