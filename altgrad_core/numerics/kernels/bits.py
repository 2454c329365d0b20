"""What all compiled kernels share: the compiler, and float32 values as the integers they are made of.

A kernel works on the bits of float32 values. Integer comparisons, maxima and counters let its loops vectorize without
reordering any floating-point operation, so its results are those of the reference, bit for bit. All of this depends on
types: Numba widens int32 arithmetic to 64 bits, which halves the vectors, so every intermediate is cast back (`I`).
Counters add I(condition): a choice between the constants 0 and 1 may be compiled to loads from two addresses. What is
only asked whether it is zero is summed, not or-ed: the compiler makes a flag of an "or", and leaves the loop scalar.
The disk cache notices a changed file, not a changed file that it calls: after editing this one, touch the others.
"""

from __future__ import annotations

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

from altgrad_core.numerics.kernels.facts import NEVER
from altgrad_core.numerics.kernels.keeping import kept_where_possible

BLOCK = 4096  # elements between two sums of the 32-bit counters: what fits in the first-level cache
HALF = 1  # `HALF`: bfloat16 in and out, rounded on the way out
EXACT_HALF = 2  # the same, where every result is a bfloat16 already


def _compiler(**more):
    """The compiler, with a cache on disk wherever a place for one can be written to; `more`: of its options."""
    if numba.config.DISABLE_JIT:
        raise RuntimeError("its compiler is switched off by NUMBA_DISABLE_JIT")
    options = {"nogil": True, "error_model": "numpy", "boundscheck": False, **more}
    try:
        numba.njit(cache=True, **options)(_compiler)  # looks for the place; nothing is compiled
    except RuntimeError:
        return numba.njit(**options)
    return lambda function: kept_where_possible(numba.njit(cache=True, **options)(function))


compiled = _compiler()
summing = _compiler(fastmath={"reassoc"})  # sums in any order: for float64 sums that end as one float32
I, U, F = np.int32, np.uint32, np.float32  # noqa: E741
MAGNITUDE, SIGN, INFINITY = np.int32(0x7FFFFFFF), np.int32(-0x80000000), np.int32(NEVER)
BINADE = np.int32(0x00800000)  # float32 bits from one binade to the next
ZERO, ONE, SIXTEEN = np.int32(0), np.int32(1), np.int32(16)


@intrinsic
def _pointer(typing_context, address, kind):
    """The address as a pointer to items of a NumPy type."""
    pointer = types.CPointer(kind.instance_type)

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.int64, kind), generate


@compiled
def items_at(address, size, kind):
    """An array of the items of a NumPy type at this address; what lies there must outlive it."""
    return numba.carray(_pointer(address, kind), (size,))


@compiled
def as_float(bits):
    """The float32 with these bits."""
    return np.int32(bits).view(np.float32)


@compiled
def as_bits(value):
    """The bits of a float32."""
    return np.float32(value).view(np.int32)


@compiled
def to_half(bits):
    """The bfloat16 nearest to the float32 with these bits, ties to even, as uint16; not for NaN."""
    z = U(bits)
    return np.uint16(U(U(z + U(0x7FFF)) + U(U(z >> U(16)) & U(1))) >> U(16))
