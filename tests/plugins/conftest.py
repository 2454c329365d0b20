"""The geometry of a format in the most obvious way, one element at a time, in Python floats; texts, and the facts of a run."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from altgrad_core import Format, TrackedRun

TEXTS = ["First act.", "Zweiter Akt: ß.", "Third\n\nact."]


class Obvious:
    """Rungs of a format at a scale; rung 0 is zero."""

    def __init__(self, format: Format, scale: float = 1.0) -> None:
        self.values = sorted({value * scale for value in format.table if abs(value) < float("inf")})
        self.origin = self.values.index(0.0)

    def rung(self, x: float) -> int:
        """The nearest, ties to the even one."""
        distance = [abs(x - value) for value in self.values]
        least = min(distance)
        near = [index - self.origin for index, d in enumerate(distance) if d == least]
        return min(near, key=lambda rung: rung % 2)

    def position(self, x: float) -> float:
        """Linear between rungs, continued beyond the ends with the last gap."""
        cell = self._cell(bisect_right(self.values, x) - 1)
        return cell - self.origin + (x - self.values[cell]) / (self.values[cell + 1] - self.values[cell])

    def value(self, u: float) -> float:
        """The inverse of `position`."""
        cell = self._cell(int(u // 1) + self.origin)
        return self.values[cell] + (u + self.origin - cell) * (self.values[cell + 1] - self.values[cell])

    def _cell(self, index: int) -> int:
        return max(0, min(index, len(self.values) - 2))


@pytest.fixture
def obvious() -> Callable[..., Obvious]:
    """`obvious(format, scale)`."""
    return Obvious


@pytest.fixture
def weights_of() -> Callable[..., Tensor]:
    """Weights all over a format: rungs, points between them, both ends and beyond, zero."""

    def make(format: Format, *, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        rungs = torch.tensor(format.grid.values)
        between = rungs[:-1] + torch.rand(len(rungs) - 1, generator=generator) * rungs.diff()
        return torch.cat([rungs, between, rungs[[0, -1]] * 1.1]).clamp(-1e37, 1e37)

    return make


@pytest.fixture
def view_of() -> Callable[..., SimpleNamespace]:
    """What an event shows: these weights, in a run of one epoch and a thousand steps."""

    def make(*weights: object) -> SimpleNamespace:
        return SimpleNamespace(
            weights=lambda layers: iter(weights),
            operands=lambda layers: iter(()),
            steps=1000,
            epochs=lambda step: step / 1000,
        )

    return make


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is kept from test to test."""
    monkeypatch.setenv("ALTGRAD_CACHE_DIR", "")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture
def acts(tmp_path: Path) -> Path:
    """A parquet file of the shape of EurLex: text, and labels that nobody asks for."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"text": TEXTS, "labels": [[1], [2, 3], []]})
    pq.write_table(table, tmp_path / "acts.parquet", row_group_size=2)
    return tmp_path


@pytest.fixture
def run(tmp_path: Path) -> TrackedRun:
    """What a tracker receives of a run."""
    return TrackedRun(name="demo", directory=tmp_path, manifest={"run": {"name": "demo", "seed": 7}})
