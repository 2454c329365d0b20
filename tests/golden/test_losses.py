"""The losses of a short run in every registered format, against those that were recorded.

Exact where torch, Numba, NumPy and the CPU are those of the recording, and within 1e-3 elsewhere. After a change that
should move numbers: python tests/golden/test_losses.py > tests/golden/losses.json
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from altgrad_core.manifest.load import ManifestFile
from altgrad_core.records.directory import RunDirectory
from altgrad_core.registry.registry import installed
from altgrad_core.results.lines import RecordReader
from altgrad_core.running.assembly.environment import describe_environment
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.session.session import begin

HERE = Path(__file__).parent
STEPS = 12


def manifest(format: str) -> dict[str, Any]:
    """A tiny run with one format in all three roles, rounding and scaling in each of the ways there are."""
    return {
        "run": {"name": "golden", "seed": 11, "steps": STEPS},
        "model": {"use": "nanogpt", "n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16},
        "data": {"use": "synthetic", "vocabulary": 16, "tokens": 4000, "batch_size": 4},
        "optimizer": {"use": "adamw", "lr": 0.01, "schedule": {"kind": "cosine", "warmup": 3}},
        "recipe": [
            {
                "layers": "*",
                "weight": {"format": format},
                "activation": {"format": format, "scaling": "delayed"},
                "gradient": {"format": format, "rounding": "stochastic", "scale_rounding": "exact"},
            }
        ],
    }


def losses(format: str, directory: Path) -> list[float]:
    """The training losses of the run in one format."""
    resolved = resolve(ManifestFile(Path("golden.toml"), "", manifest(format)), installed())
    begin(resolved, RunDirectory(directory), overwrite=False, show=lambda record: None)
    return [r["loss"] for r in RecordReader(directory / "records.jsonl") if r["kind"] == "step"]


def fingerprint() -> dict[str, Any]:
    """What must be the same for floating-point results to be the same to the last bit."""
    facts = describe_environment(torch.device("cpu"), ())
    versions = {name: facts["versions"][name] for name in ("torch", "numpy", "numba")}
    return {"cpu": [facts["cpu"], cpu_model()], "threads": facts["threads"], "versions": versions}


def cpu_model() -> str:
    """The name of the processor, which decides the order of sums in matrix products."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def recorded() -> dict[str, Any]:
    """What was recorded."""
    return json.loads((HERE / "losses.json").read_text())


@pytest.mark.parametrize("format", installed().names("format"))
def test_losses_are_those_that_were_recorded(format: str, tmp_path: Path) -> None:
    golden = recorded()
    if format not in golden["losses"]:
        pytest.skip(f"{format} is not one of the formats that were recorded")
    expected = golden["losses"][format]
    tolerance = 0.0 if golden["fingerprint"] == fingerprint() else 1e-3
    assert losses(format, tmp_path / "run") == pytest.approx(expected, abs=tolerance, nan_ok=True)


def test_every_format_of_altgrad_is_recorded() -> None:
    own = {e.name for e in installed() if e.kind == "format" and e.plugin.distribution == "altgrad"}
    assert own == set(recorded()["losses"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: losses(name, Path(folder, name)) for name in installed().names("format")}
    json.dump({"fingerprint": fingerprint(), "losses": found}, sys.stdout, indent=1)
    print()
