"""Philox 4x32, the random words of `altgrad_core.numerics.random`, in compiled code."""

from __future__ import annotations

import numpy as np

from altgrad_core.numerics.kernels.bits import U, compiled
from altgrad_core.numerics.random import GROUP, MULTIPLIERS, ROUNDS, WEYL

WORD = np.uint64  # 32-bit words in 64-bit lanes: what the multiplier takes, without packing and unpacking
M0, M1 = WORD(MULTIPLIERS[0]), WORD(MULTIPLIERS[1])
W0, W1 = WORD(WEYL[0]), WORD(WEYL[1])
LOW32, BITS32 = WORD(0xFFFFFFFF), WORD(32)
COUNTERS = GROUP // 4


@compiled
def four_words(near, far, low_key, high_key):
    """The words of one counter, given as its lower and upper half; in the lower halves of 64 bits."""
    a, b, c, d = near, far, WORD(0), WORD(0)
    for _ in range(ROUNDS):
        first, third = WORD((a & LOW32) * M0), WORD((c & LOW32) * M1)
        a, c = WORD(WORD(third >> BITS32) ^ b ^ low_key), WORD(WORD(first >> BITS32) ^ d ^ high_key)
        b, d = third, first
        low_key, high_key = WORD(low_key + W0), WORD(high_key + W1)
    return U(a), U(b), U(c), U(d)


@compiled
def group_words(key, counter, words):
    """The words of one group of elements, uint32 of shape (GROUP,), from the group's first counter."""
    low_key, high_key = WORD(key & 0xFFFFFFFF), WORD(key >> 32)
    near, far = WORD(counter & 0xFFFFFFFF), WORD(counter >> 32)
    for i in range(COUNTERS):
        a, b, c, d = four_words(WORD(near + WORD(i)), far, low_key, high_key)
        words[i], words[i + COUNTERS], words[i + 2 * COUNTERS], words[i + 3 * COUNTERS] = a, b, c, d
