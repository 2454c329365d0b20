"""What the machine code of the Triton kernels says, compiled for GPUs that are not here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "machine_code.py"
SAMPLE = (
    "bfloat16, e4m3",
    "float32, e4m3, amax",
    "bfloat16, e4m3, stochastic",
    "float32, e4m3, block:32",
    "rung",
    "movement",
)


def facts(*arguments: str) -> list[dict[str, object]]:
    """Of each kernel; compiled in a process of its own, for in this one kernels are interpreted."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(SCRIPT), "--json", *arguments]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=500)
    return json.loads(said.stdout)


def check(kernel: dict[str, object]) -> None:
    assert kernel["stack"] == 0, f"{kernel}: registers were spilled"
    assert not kernel["flushes"] and not kernel["approximates"] and not kernel["contracts"], kernel
    assert kernel["is_vectorized"], kernel
    assert kernel["most"] is None or kernel["instructions"] <= kernel["most"], kernel


def test_kernels_spill_nothing_and_round_as_ieee_754_does_and_load_whole_vectors():
    found = facts("--capability", "90", "--only", *SAMPLE)
    assert len(found) >= 6
    for kernel in found:
        check(kernel)


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_every_kernel_does_on_either_generation(capability):
    for kernel in facts("--capability", str(capability)):
        check(kernel)
