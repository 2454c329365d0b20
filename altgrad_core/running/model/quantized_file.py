"""A quantized model in one safetensors file: codes, scales, what else it needs, and the recipe.

Of every parameter and buffer `NAME`, as in the `state_dict` of the plain model:

- a quantized weight: `NAME`, its codes, and `NAME_scale`, float32 of shape (), or one scale for each tile.
  Codes of e4m3 and e5m2 (OCP) have torch's float8 types, so that any reader has their values; others are uint8, or
  uint16 above 8 bits. Value = decode(code) * scale.
- everything else: `NAME`, in its own type. A weight that an unquantized layer reads too, or that is computed from other
  parameters, belongs here.

The metadata has one entry, `altgrad`, a JSON table: `version`, `weights` (the facts of the format, granularity and type
of each), `aliases` (names of one tensor), `recipe` (each operand's quantizer), `state` (of the plan), `seed` and `phase` (of
its noise).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from altgrad_core.contracts.actions import Role
from altgrad_core.errors import RunError
from altgrad_core.numerics.ops import decode, encode
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.written import written_quantizer
from altgrad_core.records.output_place import write_output
from altgrad_core.running.model.operand import Operand
from altgrad_core.running.model.own_weights import Evaluated

VERSION = 1
FLOAT8 = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


def write_quantized(path: Path, model: nn.Module, weights: list[Evaluated], plan: Mapping[str, Any]) -> None:
    """Write the file; see the top of this module.

    Args:
        plan: what goes into the metadata besides weights and aliases.

    Raises:
        RunError: a weight has values without a code, such as NaN in a format that has none, or the file cannot be written.
    """
    tensors, aliases, facts = {}, {}, {}
    first: dict[tuple[int, torch.Size, tuple[int, ...]], str] = {}
    own = {weight.name: weight for weight in weights}
    for name, tensor in model.state_dict().items():
        identity = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and identity in first:
            aliases[name] = first[identity]
        else:
            first[identity] = name
            tensors[name] = tensor.detach().cpu().clone().contiguous()
    for name, weight in own.items():
        tensors[name], tensors[f"{name}_scale"] = coded(weight)
        format = weight.operand.format
        facts[name] = {
            "layer": weight.path,
            "format": format.facts(),
            "granularity": weight.operand.quantizer.scale_rule.granularity,
            "dtype": str(weight.parameter.dtype).removeprefix("torch."),
        }
    metadata = {"version": VERSION, "weights": facts, "aliases": aliases, **plan}
    write_output(path, save(tensors, metadata={"altgrad": json.dumps(metadata)}))


def coded(weight: Evaluated) -> tuple[Tensor, Tensor]:
    """Codes in the shape of the weight, and scales.

    Raises:
        RunError: it has values without a code.
    """
    operand, values = weight.operand, weight.parameter.detach()
    done = operand.evaluated(values)
    layout, how = operand.layout, Quantizer(operand.format, scaling=operand.quantizer.scaling)
    rows = layout.rows(done.values).float()
    codes = encode(rows, how, scale=done.scale)
    again = decode(codes, how, scale=done.scale)
    if not torch.equal(layout.back(again, values).to(values.dtype), done.values):
        raise RunError(f"export: {weight.name} has values that codes of {operand.format.name} do not give back")
    codes = layout.back(codes, values).contiguous()
    if operand.format.name in FLOAT8:
        codes = codes.view(FLOAT8[operand.format.name])
    return codes.cpu(), done.scale.detach().float().cpu().contiguous()


def decoded(codes: Tensor, scale: Tensor, operand: Operand, like: Tensor) -> Tensor:
    """The values of a weight, of the type of `like`."""
    integers = codes if codes.dtype in (torch.uint8, torch.uint16) else codes.view(torch.uint8)
    rows = operand.layout.rows(integers)
    return operand.layout.back(decode(rows, operand.quantizer, scale=scale), codes).to(like.dtype)


def written_recipe(layers: Mapping[str, Mapping[Role, Operand]]) -> dict[str, dict[str, Any]]:
    """The quantizer of every operand."""
    return {path: dict(_quantizers(operands)) for path, operands in layers.items()}


def _quantizers(operands: Mapping[Role, Operand]) -> Iterator[tuple[str, dict[str, Any]]]:
    for role, operand in operands.items():
        yield role, written_quantizer(operand.quantizer)
