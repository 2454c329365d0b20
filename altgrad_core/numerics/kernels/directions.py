"""What moves a weight: Adam's moments or a velocity, which take in a gradient, or a direction as it is."""

from __future__ import annotations

import numpy as np

from altgrad_core.numerics.kernels.bits import INFINITY, MAGNITUDE, ZERO, F, I, as_bits, compiled, summing
from altgrad_core.numerics.random import GROUP


@compiled
def adam_moments(gradient, is_whole, m, v, beta1, beta2, rest1, rest2):
    """The moments after a gradient, or as they were where it is not finite."""
    first = F(F(m * beta1) + F(gradient * rest1))
    second = F(F(v * beta2) + F(F(gradient * gradient) * rest2))
    return first if is_whole else m, second if is_whole else v


@compiled
def adam_move(m, v, factor, eps):
    """factor * m / (sqrt(v) + eps)."""
    return F(F(m * factor) / F(np.sqrt(v) + eps))


@compiled
def velocity_after(gradient, is_whole, velocity, rate):
    """rate * velocity + gradient, or the velocity as it was where the gradient is not finite."""
    after = F(F(velocity * rate) + gradient)
    return after if is_whole else velocity


@compiled
def bounded(move, bound):
    """`move`, at most `bound` in either direction; NaN stays NaN."""
    move = bound if move > bound else move
    return F(-bound) if move < F(-bound) else move


@compiled
def count_gradients(g, counts):
    """Add how many gradients are not finite to `counts[1]`, and to `counts[2]` how many others are not zero."""
    broken, updates = ZERO, ZERO
    for i in range(g.size):
        size = I(as_bits(g[i]) & MAGNITUDE)
        broken = I(broken + I(size >= INFINITY))
        updates = I(updates + I((size > ZERO) & (size < INFINITY)))
    counts[1] += broken
    counts[2] += updates


@compiled
def update_velocity(velocity, g, rate, squares):
    """velocity = rate * velocity + g, in place, where g is a finite number; both float32 of shape (n,).

    Args:
        squares: float64 of shape (n / GROUP, rounded up): the sum of the squares of each group, filled.
    """
    for begin in range(0, velocity.size, GROUP):
        vs, gs = velocity[begin : begin + GROUP], g[begin : begin + GROUP]
        for i in range(vs.size):
            is_whole = I(as_bits(gs[i]) & MAGNITUDE) < INFINITY
            vs[i] = velocity_after(gs[i], is_whole, vs[i], rate)
        squares[begin // GROUP] = sum_of_squares(vs)


@summing
def sum_of_squares(x):
    """In float64; x is float32 of shape (n,)."""
    total = 0.0
    for i in range(x.size):
        value = np.float64(x[i])
        total += value * value
    return total
