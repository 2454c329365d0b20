"""A model out of a file of codes, evaluated as it was when it was exported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from altgrad_core.errors import AltgradError, RunError
from altgrad_core.files import open_regular
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.written import minifloat_of, read_quantizer
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.library import layer_kinds, load_format
from altgrad_core.running.assembly.written import literal
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.quantized_file import VERSION, decoded
from altgrad_core.running.model.recipe import Rule

DAMAGED = (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError, OverflowError)
"""What comes of facts in the file that are not what `Plan.export` writes."""


def load_quantized(model: nn.Module, path: str | Path) -> Plan:
    """Load what `Plan.export` wrote into a fresh model, and quantize it; in evaluation its outputs are the same bits.

    Weights are left at the values of their codes, at fixed scales, rounded to nearest.

    Args:
        model: of the architecture that was exported; not quantized.

    Raises:
        RunError: the file is none of these, of another model, or in a format that is not installed.
    """
    metadata, tensors = _read(Path(path))
    try:
        plan = _planned(model, metadata)
        try:
            _check_shapes(model, metadata, tensors)
            _fill(model, plan, metadata, tensors)
            plan.moment.seed, plan.moment.phase = _moment(metadata)
        except Exception:
            plan.remove()
            raise
    except AltgradError as error:
        raise RunError(f"{path}: {error}") from None
    except DAMAGED as error:
        raise RunError(f"{path}: is damaged: {type(error).__name__}: {error}") from None
    return plan


def _planned(model: nn.Module, metadata: dict[str, Any]) -> Plan:
    """The plan of the recipe in the file."""
    formats = {
        (layer, role): _format(written["format"])
        for layer, roles in metadata["recipe"].items()
        for role, written in roles.items()
    }
    on_grid = {facts["layer"] for facts in metadata["weights"].values()}
    rules = [
        Rule(literal(layer), **{role: _quantizer(written, formats[layer, role], role, layer in on_grid)})
        for layer, roles in metadata["recipe"].items()
        for role, written in roles.items()
    ]
    known = {format.name: format for format in formats.values()}
    return Plan(model, rules, kinds=layer_kinds(installed()), find=lambda name: known.get(name) or load_format(name))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        open_regular(path).close()
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("altgrad", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (SafetensorError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from None
    if not isinstance(metadata, dict) or metadata.get("version") != VERSION:
        raise RunError(f"{path}: is not a quantized model of version {VERSION}; plan.export(path) writes one")
    return metadata, tensors


def _check_shapes(model: nn.Module, metadata: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Refuse the file of another model."""
    for name, tensor in model.state_dict().items():
        source = metadata["aliases"].get(name, name)
        if source not in tensors or tensors[source].shape != tensor.shape:
            came = f"{tuple(tensors[source].shape)}" if source in tensors else "nothing"
            raise RunError(f"is of another model: {name} has shape {tuple(tensor.shape)} here, and {came} there")


def _fill(model: nn.Module, plan: Plan, metadata: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """The state of the plan, then weights and buffers, with the scales of the weights."""
    own = model.state_dict()
    plan.load_state_dict(metadata["state"])
    with torch.no_grad():
        for name, tensor in own.items():
            source = metadata["aliases"].get(name, name)
            value = tensors[source]
            if source in metadata["weights"]:
                operand, scale = plan.layers[metadata["weights"][source]["layer"]]["weight"], tensors[f"{source}_scale"]
                value = decoded(value, scale, operand, tensor)
                operand.keep_scale(scale.to(tensor.device), like=tensor)
            tensor.copy_(value)


def _moment(metadata: dict[str, Any]) -> tuple[int, str]:
    seed, phase = metadata["seed"], metadata["phase"]
    if not isinstance(seed, int) or not isinstance(phase, str):
        raise TypeError(f"seed {seed!r}, phase {phase!r}")
    return seed, phase


def _quantizer(written: dict[str, Any], format: Format, role: str, is_on_grid: bool) -> Any:
    quantizer = read_quantizer(written, format)
    return replace(quantizer, rounding="nearest-even") if role == "weight" and is_on_grid else quantizer


def _format(facts: dict[str, Any]) -> Format:
    try:
        result = load_format(facts["name"])
    except AltgradError:
        if (made := minifloat_of(facts)) is None:
            raise RunError(f'the format "{facts["name"]}" is not installed') from None
        return made
    if result.facts() != facts:
        raise RunError(f'the file has "{facts["name"]}" as {facts}, but that format is {result.facts()} here')
    return result
