"""The compiled moves of weights along their grids: from tensors and formats to kernels of plain arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from altgrad_core.numerics.format import Format
from altgrad_core.numerics.kernels import arrays, leaps, strides
from altgrad_core.numerics.kernels.cpu import _each
from altgrad_core.numerics.kernels.threads import Array, in_chunks

NOTHING = np.zeros(0, np.int32)


def walk(
    weight: Tensor,
    gradient: Tensor,
    sources: Sequence[Tensor],
    *,
    line: Format,
    format: Format,
    scale: Tensor,
    numbers: Sequence[float],
    trail: Tensor | None,
) -> list[int]:
    """Walk a weight along `line`; the counts of `walks`. See there for the numbers.

    Args:
        sources: the two moments of Adam, updated, or one direction.
    """
    is_adam, w, g = len(sources) == 2, _floats(weight).view(np.int32), _floats(gradient)
    first, second, steps = _floats(sources[0]), _floats(sources[-1]), _steps(trail)
    facts, quantum = arrays.walk_facts(line)
    own_facts, given, each = arrays.walk_facts(format)[0], np.array(numbers, np.float32), _each(scale, weight)
    is_apiece = each.size > 1
    kernel = strides.walks(is_adam, trail is not None, is_apiece, _is_power(each))

    def chunk(start: int, stop: int, counts: Array) -> None:
        part = slice(start, stop)
        mine = each[part] if is_apiece else each
        arguments = (w[part], g[part], first[part], second[part], steps[part], mine)
        kernel(*arguments, facts, own_facts, quantum, given, counts)

    return in_chunks(chunk, w.size, strides.BLOCK)


def hop(
    weight: Tensor,
    gradient: Tensor,
    direction: Tensor,
    *,
    format: Format,
    scale: Tensor,
    numbers: Sequence[float],
    trail: Tensor | None,
    key: int,
) -> list[int]:
    """Move a weight by whole rungs; the counts of `hops`."""
    w, g, d, steps = _floats(weight).view(np.int32), _floats(gradient), _floats(direction), _steps(trail)
    (facts, quantum), given, each = arrays.walk_facts(format), np.array(numbers, np.float32), _each(scale, weight)
    kernel = leaps.hops(trail is not None, each.size > 1, _is_power(each))

    def chunk(start: int, stop: int, counts: Array) -> None:
        part = slice(start, stop)
        mine = each[part] if each.size > 1 else each
        stream = np.array([key, start])
        kernel(w[part], g[part], d[part], steps[part], mine, facts, quantum, given, stream, counts)

    return in_chunks(chunk, w.size, strides.BLOCK)


def momentum(velocity: Tensor, gradient: Tensor, rate: float) -> None:
    """See `leaps.momentum`."""
    v, g = _floats(velocity), _floats(gradient)
    in_chunks(lambda start, stop, counts: leaps.momentum(v[start:stop], g[start:stop], np.float32(rate)), v.size, 1)


def _is_power(each: Array) -> bool:
    """Whether there is one scale, and it is a power of two."""
    return each.size == 1 and math.frexp(float(each[0]))[0] == 0.5


def _floats(x: Tensor) -> Any:
    """Flat, sharing its memory where it is contiguous."""
    return x.detach().numpy().reshape(-1)


def _steps(trail: Tensor | None) -> Any:
    return NOTHING if trail is None else trail.numpy().reshape(-1)
