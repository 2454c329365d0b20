"""Counter-based random numbers: a key names a stream, a counter names an element, nothing has a state.

Philox 4x32 with 7 rounds: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor, device

Key: TypeAlias = "int | Tensor"
"""The key of a stream: a number, or one that is on a device, int64 of shape ()."""

ROUNDS = 7
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
GROUP = 1024  # elements that share 256 counters
WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF


def derive_key(seed: int, *stream: str | int) -> int:
    """A 63-bit key for one stream of one seed, such as `derive_key(7, "data", step)`.

    The parts are joined with "/", which is escaped within a part as in a JSON pointer (RFC 6901): so two different
    sequences of parts never give one text. A number counts as its digits.
    """
    return _key_of(_hash_of(stream_text(seed, *stream)))


def stream_text(*parts: str | int) -> str:
    """The text of a stream, whose hash is its key."""
    return "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def operand_key(
    stream: Sequence[str | int], step: int, *, micro_batch: int = 0, call: int = 0, replica: int = 0
) -> int:
    """The key of the random bits of one pass of an operand.

    Args:
        stream: the seed, and the parts that name the operand.
        call: which one of its micro-batch, from 0; the first has the key of the micro-batch.
        replica: the rank of a process that trains on data of its own; 0 where all round alike.
    """
    later: tuple[str | int, ...] = ("call", call) if call else ()
    if replica:
        later = (*later, "replica", replica)
    digest = _begun(int(stream[0]), *stream[1:]).copy()
    digest.update(stream_text(step, micro_batch, *later).encode())
    return _key_of(digest)


@lru_cache(maxsize=1024)
def _begun(*parts: str | int) -> hashlib.blake2b:
    """The hash of a stream whose parts begin with these, to go on from: they are the same at every step."""
    return _hash_of(f"{stream_text(*parts)}/")


def _hash_of(text: str) -> hashlib.blake2b:
    return hashlib.blake2b(text.encode(), digest_size=8)


def _key_of(digest: hashlib.blake2b) -> int:
    return int.from_bytes(digest.digest(), "little") >> 1


def philox_words(key: Key, count: int, *, device: device | str = "cpu") -> Tensor:
    """The first `count` 32-bit words of the stream `key`, which may be a tensor, as int64 of shape (count,).

    Elements come in groups of 1024, and element 256 w + n of group g (w from 0 to 3, n from 0 to 255) takes word w of
    counter 256 g + n. So an element's word depends on its number alone, and neighbours take theirs from neighbouring
    counters, which is what vector instructions want.
    """
    import torch

    groups = -(-count // GROUP)
    counters = torch.arange(groups * GROUP // 4, dtype=torch.int64, device=device)
    zero = torch.zeros_like(counters)
    words = [counters & _LOW, counters >> 32, zero, zero]
    low_key, high_key = key & _LOW, (key >> 32) & _LOW
    for _ in range(ROUNDS):
        first, third = words[0] * MULTIPLIERS[0], words[2] * MULTIPLIERS[1]  # the low 64 bits, which is all there are
        words = [
            ((third >> 32) & _LOW) ^ words[1] ^ low_key,
            third & _LOW,
            ((first >> 32) & _LOW) ^ words[3] ^ high_key,
            first & _LOW,
        ]
        low_key, high_key = (low_key + WEYL[0]) & _LOW, (high_key + WEYL[1]) & _LOW
    return torch.stack(words).unflatten(1, (groups, GROUP // 4)).transpose(0, 1).flatten()[:count]
