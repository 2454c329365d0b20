"""Where Numba cannot run, the reference does, and one line says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import altgrad_core as ag

SCRIPT = """
import altgrad_core as ag, torch
x = torch.linspace(-500, 500, 1001)
y = ag.fake_quantize(x, ag.load_format("e4m3"))
y = ag.fake_quantize(x, ag.load_format("e4m3"))
print(float(y.double().sum()), float(y.double().square().sum()))
"""


def quantized(**environment: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_without_a_compiler_the_result_is_the_same_and_one_line_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = quantized(NUMBA_DISABLE_JIT="1")
    exec(compile(SCRIPT, "script.py", "exec"), {})
    assert out == capsys.readouterr().out
    reason = "Numba cannot run here (its compiler is switched off by NUMBA_DISABLE_JIT); quantizing by the slow reference path"
    assert err.count("Numba cannot run here") == 1
    assert reason in err


def test_a_command_says_it_in_one_line_of_its_own(tiny: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "altgrad_core.cli.main",
        "run",
        str(tiny),
        "--steps",
        "1",
        "--out",
        str(tmp_path / "run"),
    ]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert [line for line in done.stderr.splitlines() if "Numba" in line] == [
        "altgrad: warning: Numba cannot run here (its compiler is switched off by NUMBA_DISABLE_JIT); "
        "quantizing by the slow reference path"
    ]


def test_the_reference_path_is_plain_torch_and_runs_on_any_device() -> None:
    x = torch.empty(4, 5, device="meta", dtype=torch.bfloat16)
    for rounding in ("nearest-even", "stochastic"):
        y = ag.fake_quantize(x, ag.load_format("e4m3"), rounding=rounding, scaling="amax", key=1)
        assert (y.device.type, y.shape, y.dtype) == ("meta", (4, 5), torch.bfloat16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rounding", ["nearest-even", "stochastic"])
@pytest.mark.parametrize("name", ["e0m7", "e4m3", "e5m2", "e7m0", "bf16"])
def test_cuda_gives_the_bits_of_the_cpu(name: str, rounding: str) -> None:
    x = torch.randn(10_000) * 10
    format = ag.load_format(name)
    on_cpu = ag.fake_quantize(x, format, rounding=rounding, scaling="amax", key=7)
    on_cuda = ag.fake_quantize(x.cuda(), format, rounding=rounding, scaling="amax", key=7).cpu()
    assert torch.equal(on_cpu.view(torch.int32), on_cuda.view(torch.int32))
