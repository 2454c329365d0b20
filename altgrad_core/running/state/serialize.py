"""Any nested state of plain data and tensors, taken apart into JSON and named tensors, and put together again."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from altgrad_core.errors import RunError

Tensors = dict[str, Tensor]


def pack(state: Any, tensors: Tensors, name: str) -> Any:
    """`state` as JSON data; its tensors go into `tensors` under names that begin with `name`.

    Raises:
        TypeError: something in it is neither plain data nor a tensor; the message says where.
    """
    if isinstance(state, Tensor):
        tensors[name] = state.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(state, Counter):
        return {"counter": pack(dict(state), tensors, name)}
    if isinstance(state, dict):
        if all(isinstance(key, str) for key in state):
            return {"table": {key: pack(value, tensors, f"{name}.{key}") for key, value in state.items()}}
        pairs = [[pack(k, tensors, f"{name}.key"), pack(v, tensors, f"{name}.{k}")] for k, v in state.items()]
        return {"pairs": pairs}
    if isinstance(state, list | tuple | set | frozenset):
        kind = "tuple" if isinstance(state, tuple) else "list" if isinstance(state, list) else "set"
        members = sorted(state) if kind == "set" else state
        return {kind: [pack(value, tensors, f"{name}.{index}") for index, value in enumerate(members)]}
    if isinstance(state, float) and not math.isfinite(state):
        return {"float": repr(float(state))}
    if state is None or isinstance(state, bool | int | float | str):
        return state
    raise TypeError(
        f"{name} is a {type(state).__name__}; state is plain data (numbers, strings, lists, dicts) and tensors"
    )


def unpack(packed: Any, tensors: Tensors) -> Any:
    """The state that `pack` took apart."""
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "counter":
        return Counter(unpack(content, tensors))
    if kind == "table":
        return {key: unpack(value, tensors) for key, value in content.items()}
    if kind == "pairs":
        return {unpack(key, tensors): unpack(value, tensors) for key, value in content}
    if kind == "float":
        return float(content)
    members = [unpack(value, tensors) for value in content]
    return {"tuple": tuple, "list": list, "set": set}[kind](members)


def packed_files(stem: str, state: Any) -> dict[str, bytes]:
    """`state` as the files `STEM.json` and `STEM.safetensors`."""
    tensors: Tensors = {}
    packed = pack(state, tensors, "state")
    return {f"{stem}.json": json.dumps(packed).encode(), f"{stem}.safetensors": save_safetensors(tensors)}


def unpacked_files(stem: str, files: dict[str, bytes]) -> Any:
    """The state that `packed_files` wrote."""
    return unpack(json.loads(files[f"{stem}.json"]), tensors_from(files[f"{stem}.safetensors"], stem))


def tensors_from(raw: bytes, what: str) -> Tensors:
    """The tensors of a safetensors file.

    Raises:
        RunError: it is none.
    """
    try:
        loaded: Tensors = load_safetensors(raw)
    except (SafetensorError, ValueError, KeyError) as error:
        raise RunError(f"{what}.safetensors cannot be read: {error}") from None
    return loaded


def model_file(model: torch.nn.Module) -> bytes:
    """The model's `state_dict` as safetensors; tensors that share memory are written once and named in the metadata."""
    tensors: Tensors = {}
    alias: dict[str, str] = {}
    seen: dict[tuple[int, tuple[int, ...], tuple[int, ...]], str] = {}
    for name, tensor in model.state_dict().items():
        identity = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))
        if tensor.numel() and identity in seen:
            alias[name] = seen[identity]
        else:
            seen[identity] = name
            tensors[name] = tensor.detach().cpu().clone().contiguous()
    return save_safetensors(tensors, metadata=alias)


def load_model_file(model: torch.nn.Module, raw: bytes) -> None:
    """Restore what `model_file` wrote.

    Raises:
        RunError: it is of another model; the message names the first difference.
    """
    stored = tensors_from(raw, "model")
    own = model.state_dict()
    first_of: dict[int, str] = {}
    for name, tensor in own.items():
        source = name if name in stored else first_of.get(tensor.data_ptr())
        first_of.setdefault(tensor.data_ptr(), name)
        if source is None or source not in stored:
            raise RunError(f"the checkpoint is of another model: it has no {name}")
        if stored[source].shape != tensor.shape:
            theirs, ours = tuple(stored[source].shape), tuple(tensor.shape)
            raise RunError(f"the checkpoint is of another model: {name} has shape {theirs} there and {ours} here")
    if extra := sorted(set(stored) - set(own)):
        raise RunError(f"the checkpoint is of another model: this one has no {extra[0]}")
    with torch.no_grad():
        for name, tensor in own.items():
            if name in stored:
                tensor.copy_(stored[name])
