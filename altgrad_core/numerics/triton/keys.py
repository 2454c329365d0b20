"""The key of a stream of random numbers, hashed on the device: for steps that are counted there."""

from __future__ import annotations

import triton
import triton.language as tl

START = tl.constexpr(
    (
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    )
)  # fmt: skip
EIGHT_BYTES = tl.constexpr(0x01010008)  # of digest, and no key
ORDERS = tl.constexpr(
    (
        (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
        (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
        (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
        (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
        (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
        (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
        (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
        (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
        (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
        (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    )
)
DIGITS = 19  # of the largest int64
MICRO_BATCH, CALL = "/0", "/call/"
MICRO_BATCH_LENGTH, CALL_LENGTH = tl.constexpr(len(MICRO_BATCH)), tl.constexpr(len(CALL))


@triton.jit
def turned(x, right: tl.constexpr):
    """A uint64 rotated to the right."""
    return (x >> right) | (x << (64 - right))


@triton.jit
def mixed(a, b, c, d, x, y):
    """The function G of BLAKE2b, of four words of the state and two of the message."""
    a = a + b + x
    d = turned(d ^ a, 32)
    c = c + d
    b = turned(b ^ c, 24)
    a = a + b + y
    d = turned(d ^ a, 16)
    c = c + d
    b = turned(b ^ c, 63)
    return a, b, c, d


@triton.jit
def word(words, index: tl.constexpr):
    """One of 16 words."""
    return tl.sum(tl.where(tl.arange(0, 16) == index, words, 0), axis=0).to(tl.uint64, bitcast=True)


@triton.jit
def compressed(h, m, length, is_last):
    """The state after a block of 16 words, `length` bytes from the beginning (RFC 7693, 3.2)."""
    a0, a1, a2, a3, b0, b1, b2, b3 = h
    c0, c1, c2, c3 = (
        tl.full((), START[0], tl.uint64),
        tl.full((), START[1], tl.uint64),
        tl.full((), START[2], tl.uint64),
        tl.full((), START[3], tl.uint64),
    )
    d0 = tl.full((), START[4], tl.uint64) ^ length.to(tl.uint64)
    d1 = tl.full((), START[5], tl.uint64)
    d2 = tl.full((), START[6], tl.uint64) ^ tl.where(is_last, -1, 0).to(tl.int64).to(tl.uint64, bitcast=True)
    d3 = tl.full((), START[7], tl.uint64)
    for i in tl.static_range(12):
        a0, b0, c0, d0 = mixed(a0, b0, c0, d0, m[ORDERS[i][0]], m[ORDERS[i][1]])
        a1, b1, c1, d1 = mixed(a1, b1, c1, d1, m[ORDERS[i][2]], m[ORDERS[i][3]])
        a2, b2, c2, d2 = mixed(a2, b2, c2, d2, m[ORDERS[i][4]], m[ORDERS[i][5]])
        a3, b3, c3, d3 = mixed(a3, b3, c3, d3, m[ORDERS[i][6]], m[ORDERS[i][7]])
        a0, b1, c2, d3 = mixed(a0, b1, c2, d3, m[ORDERS[i][8]], m[ORDERS[i][9]])
        a1, b2, c3, d0 = mixed(a1, b2, c3, d0, m[ORDERS[i][10]], m[ORDERS[i][11]])
        a2, b3, c0, d1 = mixed(a2, b3, c0, d1, m[ORDERS[i][12]], m[ORDERS[i][13]])
        a3, b0, c1, d2 = mixed(a3, b0, c1, d2, m[ORDERS[i][14]], m[ORDERS[i][15]])
    return (
        h[0] ^ a0 ^ c0, h[1] ^ a1 ^ c1, h[2] ^ a2 ^ c2, h[3] ^ a3 ^ c3,
        h[4] ^ b0 ^ d0, h[5] ^ b1 ^ d1, h[6] ^ b2 ^ d2, h[7] ^ b3 ^ d3,
    )  # fmt: skip


@triton.jit
def digits_of(number, powers):
    """How many decimal digits a number from 0 on has."""
    lane = tl.arange(0, 32)
    powers_of_ten = tl.load(powers + lane, mask=lane < 19, other=0x7FFFFFFFFFFFFFFF)
    return tl.maximum(tl.sum((powers_of_ten <= number).to(tl.int32), axis=0), 1)


@triton.jit(do_not_specialize=["prefix", "rest"])
def key_pass(out, text, powers, step, call, prefix, rest):
    """BLAKE2b of 8 bytes of the text of a key, as `random.operand_key` takes it, into `out`, int64.

    The text is a prefix, the step, "/0" for the micro-batch, "/call/" and the call unless that is 0, and the rest.

    Args:
        text: uint8: the prefix, MICRO_BATCH, CALL, and the rest.
        powers: of 10 that are an int64, int64, shape (19,).
        step, call: int64, shape ().
        prefix, rest: their numbers of bytes.
    """
    step, call = tl.load(step), tl.load(call)
    step_digits = digits_of(step, powers)
    step_end = prefix + step_digits
    batch_end = step_end + MICRO_BATCH_LENGTH
    call_from = batch_end + tl.where(call > 0, CALL_LENGTH, 0)
    call_end = call_from + tl.where(call > 0, digits_of(call, powers), 0)
    end = call_end + rest
    h0 = tl.full((), START[0], tl.uint64) ^ EIGHT_BYTES
    h1, h2, h3 = tl.full((), START[1], tl.uint64), tl.full((), START[2], tl.uint64), tl.full((), START[3], tl.uint64)
    h4, h5 = tl.full((), START[4], tl.uint64), tl.full((), START[5], tl.uint64)
    h6, h7 = tl.full((), START[6], tl.uint64), tl.full((), START[7], tl.uint64)
    for begin in range(0, end, 128):
        at = begin + tl.arange(0, 128)
        is_step, is_call = (at >= prefix) & (at < step_end), (at >= call_from) & (at < call_end)
        place = tl.where(is_step, step_end, call_end) - 1 - at
        power = tl.load(powers + place, mask=is_step | is_call, other=1)
        digit = tl.where(is_step, step, call) // power % 10 + 48
        source = tl.where(at < prefix, at, at - step_digits)  # the text has no digits
        source = tl.where(at >= call_end, at - call_end + prefix + MICRO_BATCH_LENGTH + CALL_LENGTH, source)
        letter = tl.load(text + source, mask=(at < end) & ~is_step & ~is_call, other=0).to(tl.int64)
        letters = tl.where(is_step | is_call, digit, letter)
        m = tl.sum(tl.reshape(letters << (at % 8 * 8).to(tl.int64), (16, 8)), axis=1)
        words = (
            word(m, 0), word(m, 1), word(m, 2), word(m, 3), word(m, 4), word(m, 5), word(m, 6), word(m, 7),
            word(m, 8), word(m, 9), word(m, 10), word(m, 11), word(m, 12), word(m, 13), word(m, 14), word(m, 15),
        )  # fmt: skip
        length = tl.minimum(end, begin + 128)
        h0, h1, h2, h3, h4, h5, h6, h7 = compressed((h0, h1, h2, h3, h4, h5, h6, h7), words, length, length == end)
    tl.store(out, (h0 >> 1).to(tl.int64))
