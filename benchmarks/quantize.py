"""Fake-quantize one tensor, side by side: process CPU time over that of copying it, minimum of interleaved rounds.

    python benchmarks/quantize.py [log2 of the size, 20 by default]

Prints a markdown table. What is not installed is left out, and said so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

import altgrad_core as ag
from altgrad_core.numerics import kernels, reference

ROUNDS = 15


def contenders(x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """What is timed, by name; every one maps float32 to the values of E5M2 in float32."""
    format, one = ag.load_format("e5m2"), torch.ones(())
    out = torch.empty_like(x)
    nearest = {"scale": one, "rounding": "nearest-even", "overflow": "saturate", "key": None}
    stochastic = {**nearest, "rounding": "stochastic", "key": 1}
    found: dict[str, Callable[[], object]] = {
        "copy": lambda: out.copy_(x),
        "clone": lambda: x.clone(),
        "altgrad, nearest, with amax and counts": lambda: kernels.quantize(x, format, **nearest),
        "altgrad, stochastic, with amax and counts": lambda: kernels.quantize(x, format, **stochastic),
        "altgrad, the reference": lambda: reference.quantize(x, format, **nearest),
        "torch, cast and back": lambda: x.to(torch.float8_e5m2).float(),
    }
    try:
        import ml_dtypes

        array = x.numpy()
        found["ml_dtypes"] = lambda: array.astype(ml_dtypes.float8_e5m2).astype("float32")
    except ImportError:
        print("ml_dtypes: not installed", file=sys.stderr)
    try:
        import gfloat
        from gfloat.formats import format_info_ocp_e5m2

        doubles = x.double().numpy()
        found["gfloat"] = lambda: gfloat.round_ndarray(format_info_ocp_e5m2, doubles)
    except ImportError:
        print("gfloat: not installed", file=sys.stderr)
    return found


def measure(found: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The least CPU seconds of each, interleaved so that a slow moment of the machine meets all of them."""
    least = dict.fromkeys(found, float("inf"))
    for round_number in range(ROUNDS + 1):
        for name, run in found.items():
            start = time.process_time()
            run()
            if round_number:  # the first compiles and warms up
                least[name] = min(least[name], time.process_time() - start)
    return least


def main() -> None:
    torch.set_num_threads(1)
    size = 2 ** int(sys.argv[1] if len(sys.argv) > 1 else 20)
    least = measure(contenders(torch.randn(size)))
    print(f"E5M2, {size:,} float32 values, one thread, torch {torch.__version__}\n")
    print("| what | ms | over copy |\n|---|---|---|")
    for name, seconds in least.items():
        print(f"| {name} | {1e3 * seconds:.2f} | {seconds / least['copy']:.1f} |")


if __name__ == "__main__":
    main()
