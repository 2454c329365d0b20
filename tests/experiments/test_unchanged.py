"""A command on a finished study writes its report again only where something has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.experiments.matrix.endings import directory_of
from altgrad_core.manifest.load import load_manifest
from altgrad_core.registry.registry import installed
from altgrad_core.running.session.session import begin
from tests.conftest import TINY, Said


@pytest.fixture
def study(tmp_path: Path, altgrad: Callable[..., Said]) -> tuple[Path, Said]:
    """A study of one cell, with its report, and what the command said."""
    manifest, out = tmp_path / "study.toml", tmp_path / "out"
    manifest.write_text(TINY.replace("seed = 3\n", "") + "[matrix]\nrun.seed = [3]\n")
    (cell,) = Matrix(load_manifest(manifest), installed(), most=1).cells({})
    begin(cell.resolved, directory_of(cell, out), overwrite=False, show=lambda record: None)
    return out, altgrad("run", manifest, "--out", out)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def test_a_report_is_written_again_only_where_something_has_changed(
    study: tuple[Path, Said], altgrad: Callable[..., Said]
) -> None:
    out, first = study
    page, (cell,) = out / "report.html", out.glob("*/summary.json")
    text = page.read_bytes()

    def again() -> tuple[Said, int]:
        return altgrad("run", out.parent / "study.toml", "--out", out), page.stat().st_mtime_ns

    said, time = again()
    assert said == first
    assert again() == (first, time)
    for changed, change in ((cell, touch), (page, Path.unlink)):
        change(changed)
        said, later = again()
        assert (said, page.read_bytes()) == (first, text), changed
        assert later > time, changed
        time = later
