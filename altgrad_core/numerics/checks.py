"""What an operation refuses: tensors of other types, codes that a format does not have, outputs that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from altgrad_core.errors import FormatError
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.sharded import is_sharded

if TYPE_CHECKING:
    from torch import Tensor, dtype


def check_values(operation: str, x: Any, what: str = "x") -> None:
    """Refuse all but dense tensors of float32, bfloat16, float16 and float64.

    Raises:
        FormatError: any other; nothing is converted in silence.
    """
    import torch

    _check_dense(operation, what, x)
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        raise FormatError(
            f"{operation}: {what} is {x.dtype}; expected float32, bfloat16, float16 or float64: convert it first, "
            f"as {what}.{'real' if x.is_complex() else 'float()'}"
        )


def check_kind(operation: str, what: str, got: Any, kinds: type | tuple[type, ...], expected: str) -> None:
    """Refuse an argument of another class, where `expected` says which and how to make one.

    Raises:
        FormatError: it is an instance of none of `kinds`.
    """
    if not isinstance(got, kinds):
        raise FormatError(f"{operation}: {what} is a {_class_of(got)}; expected {expected}")


def check_codes(codes: Any, format: Format) -> None:
    """Refuse all but dense tensors of integers that are codes of the format.

    Raises:
        FormatError: any other.
    """
    import torch

    _check_dense("decode", "codes", codes)
    integers = (torch.uint8, torch.uint16, torch.uint32, torch.int8, torch.int16, torch.int32, torch.int64)
    if codes.dtype not in integers:
        raise FormatError(f"decode: codes are {codes.dtype}; expected integers, as encode returns them")
    if codes.dtype == torch.uint8 and format.bits == 8:
        return
    numbers = codes.to(torch.int64)
    if numbers.numel() and not (int(numbers.min()) >= 0 and int(numbers.max()) < len(format.table)):
        extremes = f"{int(numbers.min())} to {int(numbers.max())}"
        raise FormatError(f'decode: codes from {extremes}; "{format.name}" has codes from 0 to {len(format.table) - 1}')


def check_out(out: Tensor, x: Tensor, type: dtype | None = None) -> None:
    """Refuse a place for the result that has another shape, type or device, is no plain memory, or overlaps `x`.

    Raises:
        FormatError: it is one of these.
    """
    type = x.dtype if type is None else type
    fits = (out.shape, out.dtype, out.device) == (x.shape, type, x.device) and out.is_contiguous()
    if not fits:
        got = f"{out.dtype} of shape {tuple(out.shape)} on {out.device}"
        raise FormatError(f"out is {got}; expected contiguous {type} of shape {tuple(x.shape)} on {x.device}")
    if out.requires_grad or (out.numel() and out.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() != 0):
        raise FormatError("out shares memory with the input, or requires a gradient; pass a tensor of its own")


def check_scale(operation: str, scale: Any, x: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse scales other than those that `quantize` returns for a tensor like `x`; kernels read as many as there must be.

    Args:
        shape: of these scales.

    Raises:
        FormatError: no tensor, or one of another type, device or shape. It may be on the CPU, and of any shape where all
            elements share one scale.
    """
    import torch

    if not isinstance(scale, torch.Tensor):
        raise FormatError(f"{operation}: scale is a {_class_of(scale)}; expected a tensor, as torch.tensor({scale!r})")
    is_right = scale.shape == shape or (shape == () and scale.numel() == 1)
    is_there = scale.device == x.device or scale.device.type == "cpu"
    if not (is_right and is_there) or scale.dtype != torch.float32:
        raise FormatError(
            f"{operation}: scale is {scale.dtype} of shape {tuple(scale.shape)} on {scale.device}; expected torch.float32 of "
            f"shape {shape} on {x.device}, as quantize returns it for a tensor of shape {tuple(x.shape)}"
        )


def check_broadcasts(operation: str, scale: Tensor, x: Tensor) -> None:
    """Refuse scales that do not broadcast to the shape of `x`.

    Raises:
        FormatError: they do not.
    """
    own, shape = tuple(scale.shape), tuple(x.shape)
    if len(own) > len(shape) or any(mine not in (1, size) for mine, size in zip(own[::-1], shape[::-1], strict=False)):
        raise FormatError(
            f"{operation}: scale has shape {own}; expected one that broadcasts to that of the tensor, {shape}"
        )


def check_alike(operation: str, what: str, first: Tensor, **others: Any) -> None:
    """Refuse tensors that do not go with the first one, called `what`, element by element; None is left out.

    Raises:
        FormatError: one that is no dense tensor of floats, or has another shape or device; `trail` is int32.
    """
    import torch

    check_values(operation, first, what)
    for name, x in others.items():
        if x is None:
            continue
        if name != "trail":
            check_values(operation, x, name)
        elif x.dtype != torch.int32:
            raise FormatError(f"{operation}: trail is {x.dtype}; expected torch.int32")
        if x.shape != first.shape or x.device != first.device:
            raise FormatError(
                f"{operation}: {name} has shape {tuple(x.shape)} and is on {x.device}; expected those of {what}, "
                f"{tuple(first.shape)} on {first.device}"
            )


def _check_dense(operation: str, what: str, x: Any) -> None:
    import torch

    if not isinstance(x, torch.Tensor):
        raise FormatError(
            f"{operation}: {what} is a {_class_of(x)}; expected a torch.Tensor, as torch.as_tensor({what})"
        )
    if is_sharded(x):
        raise FormatError(
            f"{operation}: {what} is sharded over processes (a DTensor); gather it first, as {what}.full_tensor()"
        )
    if x.is_nested:
        raise FormatError(f"{operation}: {what} is a nested tensor; pass its parts, as {what}.unbind()")
    if x.layout != torch.strided:
        raise FormatError(f"{operation}: {what} is of layout {x.layout}; expected a dense tensor, as {what}.to_dense()")


def _class_of(x: Any) -> str:
    return f"{type(x).__module__}.{type(x).__qualname__}"
