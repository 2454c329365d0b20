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
