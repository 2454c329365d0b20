"""The files of a report: whole, the same every time, and a clear word where the disk refuses."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.errors import ManifestError, RunError
from altgrad_core.experiments.report import write as writing
from altgrad_core.experiments.report.write import write_report

Cells = Callable[..., list[Any]]
Write = Callable[..., Path]


def contents(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def test_the_same_records_give_the_same_bytes(write: Write, made: Any, tmp_path: Path) -> None:
    directory = write([made(optimizer=name, readings={"stall-ratio": 0.5}) for name in ("adamw", "manifold-adamw")])
    before = contents(directory)
    once, again = tmp_path / "once", tmp_path / "again"
    write_report(directory, once)
    write_report(directory, again)
    assert contents(once) == contents(again)
    assert contents(directory) == before


def test_page_twin_figures_and_tables_are_where_they_are_said_to_be(write: Write, grid_of_cells: Cells) -> None:
    directory = write(grid_of_cells({"e4m3": 0.05}, seeds=(1, 2)))
    written = write_report(directory)
    assert (written.page, written.markdown) == (directory / "report.html", directory / "report.md")
    assert set(written.figures) == set((directory / "figures").iterdir())
    assert set(written.tables) == set((directory / "tables").iterdir())
    assert {"cells.csv", "effects.csv", "arms.csv"} <= {path.name for path in written.tables}
    page, twin = written.page.read_text(), written.markdown.read_text()
    assert len(written.figures) >= 3
    for path in written.figures:
        assert f'id="{path.stem}"' in page
        assert f"](figures/{path.name})" in twin
        assert path.read_text().strip() in page


def test_a_report_on_a_reported_study_is_the_same(write: Write, made: Any) -> None:
    directory = write([made()])
    first = write_report(directory).page.read_bytes()
    assert write_report(directory).page.read_bytes() == first


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_disk_that_refuses_is_said_and_the_old_page_stays(
    write: Write, made: Any, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    directory = write([made(status="missing")])
    (directory / "report.html").write_bytes(before := b"what was there")
    real = writing.write_whole

    def refuse(path: Path, content: bytes) -> None:
        if path.name == "report.html":
            raise OSError(code, errno.errorcode[code])
        real(path, content)

    monkeypatch.setattr(writing, "write_whole", refuse)
    with pytest.raises(RunError) as caught:
        write_report(directory)
    assert str(caught.value) == (
        f"{directory / 'report.html'}: the report could not be written: {errno.errorcode[code]}; put that right, or choose "
        "another place with --out"
    )
    assert (directory / "report.html").read_bytes() == before


def test_a_file_in_the_place_of_the_report_is_said(write: Write, made: Any, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    with pytest.raises(RunError) as caught:
        write_report(write([made()]), taken)
    assert str(caught.value) == f"{taken}: is not a directory; choose another place with --out"


def test_a_place_that_cannot_be_written_is_said_before_the_study_is_read(
    write: Write, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("")
    directory, out = write([made()]), tmp_path / "taken" / "report"
    monkeypatch.setattr(writing.Study, "read", lambda directory: pytest.fail("the study was read"))
    with pytest.raises(RunError) as caught:
        write_report(directory, out)
    told = f"{out}: is not a directory; choose another place with --out"
    assert str(caught.value) == told


def test_a_directory_without_runs_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is neither a study nor a run"):
        write_report(tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_template_is_part_of_the_package() -> None:
    assert files("altgrad_core.experiments.report").joinpath("page.html.j2").is_file()


def test_tables_hold_the_numbers_of_the_page(write: Write, grid_of_cells: Cells) -> None:
    written = write_report(write(grid_of_cells({"e4m3": 0.05}, seeds=(1, 2, 3))))
    cells = next(path for path in written.tables if path.name == "cells.csv").read_text()
    losses = re.findall(r",finished,cell,([0-9.]+),", cells)
    assert len(losses) == 18
    assert f"{float(losses[0]):.4f}" in written.page.read_text()


def test_a_plan_written_by_a_newer_version_is_refused(write: Write, made: Any) -> None:
    directory = write([made()])
    plan = json.loads((directory / "cells.json").read_text())
    (directory / "cells.json").write_text(json.dumps({**plan, "schema": 99}))
    with pytest.raises(ManifestError, match="newer version"):
        write_report(directory)
