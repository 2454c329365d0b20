"""A quantized model of Hugging Face transformers as a directory that `from_pretrained` reads.

`config.json` has a `quantization_config`, and the safetensors files have each quantized weight `NAME` as codes of type
float8_e4m3fn beside its scales in float32. Value = decode(code) * scale. What is written depends on the granularity:

- `tensor`, `row`: quant_method `compressed-tensors`, format `float-quantized`; `NAME_scale` of shape (1,) or (outputs, 1).
- `tile:128x128`: quant_method `fp8`, the fine-grained FP8 of DeepSeek-V3; `NAME_scale_inv`, one scale for each tile.

A weight that other layers read too, such as a head that is tied to an embedding, is written once for each layer: as codes
for the quantized ones, as it is for the others. `config.json` then says `tie_word_embeddings = false`.

Only weights are described. A reader of `compressed-tensors` does not round activations; one of `fp8` that multiplies in
8 bits rounds them as it does for any such model.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor, nn

from altgrad_core.errors import RunError
from altgrad_core.records.files import name_beside
from altgrad_core.records.output_place import unwritten
from altgrad_core.running.model.own_weights import Evaluated
from altgrad_core.running.model.quantized_file import coded

STRATEGIES = {"tensor": "tensor", "row": "channel"}
TILE = 128
TILED = f"tile:{TILE}x{TILE}"
WHERE = "export, layout huggingface"
BAKED = "plan.remove(bake=True), then save_pretrained, writes the rounded values in the type of the model"


def write_directory(path: Path, model: nn.Module, weights: Sequence[Evaluated], left: Sequence[str]) -> None:
    """Write the directory; see the top of this module. It appears whole or not at all.

    Args:
        path: of the directory; nothing is there, or an empty directory.
        model: a model of Hugging Face transformers, or one that holds it.
        weights: the quantized weights, under each name of their layers.
        left: paths of the layers whose quantized weights are no parameters.

    Raises:
        RunError: the model or its recipe does not fit, something is there already, or the directory cannot be written.
    """
    prefix, inner = _of_the_library(model)
    granularity = _granularity(model, prefix, weights, left)
    suffix = "_scale_inv" if granularity == TILED else "_scale"
    state: dict[str, Tensor] = dict(inner.state_dict())
    for weight in weights:
        name = weight.name.removeprefix(prefix)
        codes, scale = coded(weight)
        state[name], state[name + suffix] = codes, scale.reshape(scale.shape or (1,))
    written = {weight.name.removeprefix(prefix).removesuffix(".weight") for weight in weights}
    plain = [name for name, module in inner.named_modules() if isinstance(module, nn.Linear) and name not in written]
    described = {"quantization_config": _quantization_config(granularity, plain), **_untied(inner, weights)}
    with _beside(path) as beside, _described(inner.config, described):
        inner.save_pretrained(beside, state_dict=state)


def _of_the_library(model: nn.Module) -> tuple[str, Any]:
    """The prefix of its names, and the outermost module that can write itself."""
    for name, module in model.named_modules():
        if hasattr(module, "config") and hasattr(module, "save_pretrained"):
            return f"{name}." if name else "", module
    raise RunError(
        f"{WHERE}: this is a {type(model).__name__}; expected a model of Hugging Face transformers, with config and "
        "save_pretrained; layout altgrad writes any model"
    )


def _granularity(model: nn.Module, prefix: str, weights: Sequence[Evaluated], left: Sequence[str]) -> str:
    """The granularity of all weights.

    Raises:
        RunError: one of them does not fit.
    """
    if left:
        raise RunError(
            f"{WHERE}: {left[0]}: its weight is computed from other parameters; leave the layer out of the recipe, or bake: "
            f"{BAKED}"
        )
    if not weights:
        raise RunError(f"{WHERE}: the recipe quantizes no weight; save_pretrained writes such a model")
    for weight in weights:
        if (problem := _misfit(model, prefix, weight)) is not None:
            raise RunError(f"{WHERE}: {weight.path}: {problem}")
    first = weights[0]
    for weight in weights:
        if (mine := _name(weight)) != (its := _name(first)):
            raise RunError(
                f'{WHERE}: {weight.path} has granularity "{mine}", and {first.path} "{its}"; expected one for all'
            )
    return _name(first)


def _name(weight: Evaluated) -> str:
    return weight.operand.quantizer.scale_rule.granularity


def _misfit(model: nn.Module, prefix: str, weight: Evaluated) -> str | None:
    """Why this weight cannot be written, if so."""
    module = model.get_submodule(weight.name.rpartition(".")[0])
    format, granularity, shape = weight.operand.format.name, _name(weight), tuple(weight.parameter.shape)
    if not weight.name.startswith(prefix):
        return f"is outside the model of Hugging Face transformers, {prefix.removesuffix('.')}"
    if not isinstance(module, nn.Linear):
        name = getattr(module, "plain", type(module)).__name__
        return f"is of class {name}, and readers of this layout know only nn.Linear; leave it out, or bake: {BAKED}"
    if format != "e4m3":
        return f'has weights in "{format}"; expected "e4m3"'
    if granularity not in (*STRATEGIES, TILED):
        return f'has weights of granularity "{granularity}"; expected "tensor", "row" or "{TILED}"'
    if granularity == TILED and any(size > TILE and size % TILE for size in shape):
        return f'has a weight of shape {shape}, which whole tiles of {TILE}x{TILE} do not fill; granularity "row" fits'
    return None


def _quantization_config(granularity: str, plain: list[str]) -> dict[str, Any]:
    """What `config.json` says of it; `plain` names the linear layers that are not quantized."""
    if granularity == TILED:
        return {
            "quant_method": "fp8",
            "activation_scheme": "dynamic",
            "weight_block_size": [TILE, TILE],
            "modules_to_not_convert": plain,
        }
    scheme = {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": False}
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": {**scheme, "strategy": STRATEGIES[granularity]}}
        },
        "ignore": plain,
    }


def _untied(inner: nn.Module, weights: Sequence[Evaluated]) -> dict[str, Any]:
    """What the configuration says where a quantized weight has names of several layers: each has its own in the file."""
    names: dict[Tensor, int] = {}
    for _, parameter in inner.named_parameters(remove_duplicate=False):
        names[parameter] = names.get(parameter, 0) + 1
    is_shared = any(names.get(weight.parameter, 1) > 1 for weight in weights)
    return {"tie_word_embeddings": False} if is_shared else {}


@contextmanager
def _described(config: Any, entries: Mapping[str, Any]) -> Iterator[None]:
    """The configuration has the entries while it is written, and is then as it was."""
    before = {key: vars(config)[key] for key in entries if key in vars(config)}
    for key, value in entries.items():
        setattr(config, key, value)
    try:
        yield
    finally:
        for key in entries:
            delattr(config, key)
        for key, value in before.items():
            setattr(config, key, value)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A directory beside `path`, which takes its place at the end; a failure leaves nothing behind."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise RunError(f"{path}: already exists; expected a new path, or an empty directory")
    beside = path.with_name(name_beside(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        yield beside
        if path.exists():
            path.rmdir()
        beside.rename(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: {unwritten(error)}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
