"""Cells trained by worker processes: the same bits as alone, whatever is killed, and each exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.results.lines import RecordReader
from altgrad_core.running.state.checkpoint import checkpoint_steps
from tests.conftest import obey
from tests.experiments.commands import cells_of, truth, written

if TYPE_CHECKING:
    from tests.conftest import Said

FAILING = '''
"""A model that cannot be built where it is 24 wide, and dies where it is 32."""
import os
from altgrad_nanogpt import NanoGPT

def build(vocabulary, n_embd, block_size):
    if n_embd == 24:
        raise ValueError("24 is unlucky")
    if n_embd == 32:
        os._exit(9)
    return NanoGPT(n_layer=1, n_head=2, n_embd=n_embd, block_size=block_size).build(vocabulary)
'''


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return written(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A manifest, the directory of its finished study, and what the command said."""
    folder = tmp_path_factory.mktemp("finished")
    told = obey("run", written(folder), "--out", folder / "out", "--jobs", "2", "--json")
    assert told.code == 0, told.err
    return folder / "study.toml", folder / "out", told.out


def test_every_cell_is_trained_as_its_manifest_alone_would_be(
    finished: tuple[Path, Path, str], tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    _, out, said = finished
    assert json.loads(said)["ended"] == {"finished": 4}
    for cell in cells_of(out):
        directory, alone = out / cell["name"], tmp_path / cell["name"]
        assert altgrad("run", directory / "resolved.toml", "--out", alone).code == 0
        (records, files), (others, more) = truth(directory), truth(alone)
        assert records == others
        assert {n: f for n, f in files.items() if n != "progress.json"} == {
            n: f for n, f in more.items() if n != "progress.json"
        }
        assert checkpoint_steps(directory / "checkpoints") == [6]


def test_a_second_command_finds_nothing_left_to_do(
    finished: tuple[Path, Path, str], altgrad: Callable[..., Said]
) -> None:
    manifest, out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/records.jsonl")}
    again = altgrad("run", manifest, "--out", out)
    assert (again.code, again.err) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/records.jsonl")} == before


def test_a_directory_holds_one_study_or_one_run(
    finished: tuple[Path, Path, str], tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    manifest, out, _ = finished
    told = altgrad("run", manifest, "--out", out, "--set", "run.name=other")
    assert (told.code, told.err) == (
        2,
        f'altgrad: {out}: the study "study" is here, and this one is "other"; choose another directory with --out, '
        "or pass --overwrite\n",
    )
    told = altgrad("run", tiny, "--out", out)
    assert (told.code, told.err) == (
        2,
        f"altgrad: {out}: a study of many runs is here; choose another directory with --out\n",
    )
    told = altgrad("run", manifest, "--out", next(out.glob("e5m2-*")))
    assert told.code == 2 and told.err.endswith(": a single run is here; choose another directory with --out\n")
    told = altgrad("resume", out)
    assert told.code == 2 and f"{out}: is a study of many runs; continue it with: altgrad run MANIFEST" in told.err


@pytest.mark.usefixtures("cells_in_this_process")
def test_overwriting_trains_what_is_there_anew(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    one, out = written(tmp_path, "[matrix]\nrun.seed = [1]\n"), tmp_path / "out"
    for _ in range(2):
        assert altgrad("run", one, "--out", out, "--overwrite").code == 0
    (cell,) = cells_of(out)
    kinds = [record["kind"] for record in RecordReader(out / cell["name"] / "clock.jsonl")]
    assert kinds.count("resumed") == 0 and (out / cell["name"] / "summary.json").exists()


def test_cells_that_fail_are_tried_twice_and_listed_and_the_others_finish(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, altgrad: Callable[..., Said]
) -> None:
    (tmp_path / "unlucky.py").write_text(FAILING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    text = study.read_text().partition("[model]")
    model = '[model]\nuse = "unlucky:build"\nn_embd = 16\nblock_size = 16\n'
    study.write_text(
        text[0]
        + model
        + "[data]"
        + text[2]
        .partition("[data]")[2]
        .replace("'recipe[0].weight.format' = ['e5m2', 'e3m4']\nrun.seed = [1, 2]", "model.n_embd = [16, 24, 32, 8]")
    )
    told = altgrad("run", study, "--out", tmp_path / "out", "--jobs", "1")
    names = {cell["point"]["model.n_embd"]: cell["name"] for cell in cells_of(tmp_path / "out")}
    assert told.code == 3
    assert told.out.startswith("study: 4 cells: 2 finished, 2 failed\n")
    lines = told.err.splitlines()
    unlucky, dead = "24 is unlucky", "its process ended without a message: out of memory, or killed"
    assert f"{names[24]}: failed, and is tried once more: " in told.err and told.err.count(unlucky) >= 2
    assert f"failed: {names[32]}: {dead}" in lines
    assert not (tmp_path / "out" / names[32] / "summary.json").exists()
