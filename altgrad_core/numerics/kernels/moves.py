"""The compiled moves of weights along their grids: from tensors and formats to kernels of plain arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from altgrad_core.numerics.format import Format
from altgrad_core.numerics.kernels import arrays, directions
from altgrad_core.numerics.kernels import stochastic_walk as stochastic_kernels
from altgrad_core.numerics.kernels import walk as walk_kernels
from altgrad_core.numerics.kernels.passes import each_scale
from altgrad_core.numerics.kernels.threads import Numbers, in_chunks
from altgrad_core.numerics.memory import side_by_side
from altgrad_core.numerics.moves import Path
from altgrad_core.numerics.random import GROUP

Array = np.ndarray[Any, Any]
SIGNIFICAND = 0x7FFFFF  # of float32 bits
NOTHING = np.zeros(0, np.int32)
LEAST_QUANTUM = 2.0**-125  # half of it is a normal float32, so that ties are what they are
COUNTS = 5  # that a kernel takes, of which the first is not used
MOST_EXPONENT = 120  # the reciprocals of scales down to this are finite


def walk(
    weight: Tensor,
    gradient: Tensor,
    sources: Sequence[Tensor],
    path: Path,
    *,
    numbers: Sequence[float],
    trail: Tensor | None,
) -> Numbers:
    """Walk a weight along a path; the counts of `walks`. See there for the numbers.

    Args:
        sources: the two moments of Adam, updated; or one direction, which if there is a rate is a velocity, updated.
    """
    w, g = _floats(weight.detach()).view(np.int32), _floats(side_by_side(gradient))
    first = _floats(sources[0])
    is_adam, second, steps = len(sources) == 2, first if len(sources) == 1 else _floats(sources[1]), _steps(trail)
    known, each = _known(path.line, path.format), each_scale(path.scale, weight)
    is_apiece, constants = each.size != 1, np.array((*numbers, 0.0, 0.0, 0.0, 0.0, 0.0)[:8], np.float32)
    one = 0.0 if is_apiece else float(each[0])
    is_power = known.is_own and _is_power(one) and one * known.quantum >= LEAST_QUANTUM
    has_rate = not is_adam and len(numbers) > 3
    is_wide = not (is_power or _are_powers(path.scale))
    kernel = walk_kernels.walks(is_adam, has_rate, known.is_uniform, trail is not None, is_apiece, is_power, is_wide)

    def chunk(start: int, stop: int) -> Numbers:
        part, counts = slice(start, stop), np.zeros(COUNTS, np.int64)
        mine = each[part] if is_apiece else each
        arguments = (w[part], g[part], first[part], second[part], steps[part], mine)
        kernel(*arguments, known.facts, known.own_facts, known.quantum, constants, counts)
        return counts.tolist()

    return in_chunks(chunk, w.size, walk_kernels.BLOCK)


def stochastic_walk(
    weight: Tensor,
    gradient: Tensor,
    direction: Tensor,
    path: Path,
    *,
    numbers: Sequence[float],
    trail: Tensor | None,
    key: int,
) -> Numbers:
    """Move a weight by whole rungs; the counts of `stochastic_walks`. See there for the numbers, and `walk`."""
    w, g = _floats(weight.detach()).view(np.int32), _floats(side_by_side(gradient))
    d, steps, each = _floats(direction), _steps(trail), each_scale(path.scale, weight)
    known = _known(path.format, path.format)
    is_apiece, constants = each.size != 1, np.array((*numbers, 0.0)[:4], np.float32)
    is_power = not is_apiece and _is_power(float(each[0]))
    kernel = stochastic_kernels.stochastic_walks(
        len(numbers) > 3, known.is_uniform, trail is not None, is_apiece, is_power
    )

    def chunk(start: int, stop: int) -> Numbers:
        part, counts = slice(start, stop), np.zeros(COUNTS, np.int64)
        mine = each[part] if is_apiece else each
        stream = np.array([key, start])
        kernel(w[part], g[part], d[part], steps[part], mine, known.facts, known.quantum, constants, stream, counts)
        return counts.tolist()

    return in_chunks(chunk, w.size, walk_kernels.BLOCK)


def update_velocity(velocity: Tensor, gradient: Tensor, momentum: float) -> float:
    """See `directions.update_velocity`; the norm of the velocity."""
    v, g, rate = _floats(velocity), _floats(side_by_side(gradient)), np.float32(momentum)
    squares = np.zeros(-(-v.size // GROUP))

    def chunk(start: int, stop: int) -> Numbers:
        directions.update_velocity(v[start:stop], g[start:stop], rate, squares[start // GROUP :])
        return ()

    in_chunks(chunk, v.size, GROUP)
    return math.sqrt(float(squares.sum()))


class Known(NamedTuple):
    """What a kernel needs of a line and of the format whose rungs are counted.

    Attributes:
        facts, own_facts: see `arrays.walk_facts`, of the line and of the format.
        quantum: the smallest positive value of the line.
        is_uniform: whether all rungs of the line are spaced alike.
        is_own: whether the line has the rungs of the format.
    """

    facts: Array
    own_facts: Array
    quantum: np.float32
    is_uniform: bool
    is_own: bool


@lru_cache(maxsize=256)
def _known(line: Format, format: Format) -> Known:
    facts, quantum = arrays.walk_facts(line)
    return Known(facts, arrays.walk_facts(format)[0], quantum, arrays.is_uniform(line), line == format)


@lru_cache(maxsize=256)
def _is_power(scale: float) -> bool:
    """Whether a scale is a power of two by which float32 numbers can be divided, and multiplied again, without loss."""
    mantissa, exponent = math.frexp(scale)
    return mantissa == 0.5 and -MOST_EXPONENT <= exponent <= 1


def _are_powers(scales: Tensor) -> bool:
    """Whether all scales are powers of two and normal float32 numbers."""
    if scales.numel() == 1:
        mantissa, exponent = math.frexp(float(scales))
        return mantissa == 0.5 and exponent > -126
    bits = _floats(scales.detach().contiguous()).view(np.int32)
    return not np.bitwise_or.reduce(bits) & SIGNIFICAND  # no second tensor as large as the weight


def _floats(x: Tensor) -> Any:
    """Flat, sharing its memory where it is contiguous."""
    return x.numpy().reshape(-1)


def _steps(trail: Tensor | None) -> Any:
    return NOTHING if trail is None else trail.numpy().reshape(-1)
