"""`altgrad report`: what it prints, where it writes, and its exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY_MODEL

TINY = f"""
[run]
name = "tiny"
steps = 6
evaluate_batches = 1

{TINY_MODEL.strip()}

[optimizer]
use = "adamw"

[[recipe]]
layers = "blocks.*"
weight = {{ format = "e4m3" }}

[[monitor]]
use = "flips"
every = 2
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of one real run, which tests copy."""
    place = tmp_path_factory.mktemp("report")
    (place / "tiny.toml").write_text(TINY)
    command = [sys.executable, "-m", "altgrad_core.cli.main", "run", "tiny.toml", "--out", "run"]
    subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=300)
    return place / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A run of one's own."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_single_run_is_reported_as_what_it_is(altgrad: Any, run: Path) -> None:
    said = altgrad("report", run)
    assert (said.code, said.err) == (0, "")
    head, row, told, last = [line for line in said.out.splitlines() if line]
    assert head.split() == ["format", "optimizer", "rate", "loss"]
    assert row.split()[:2] == told.split(":")[0].split(" in ")[::-1]
    assert told.startswith(" in ".join(reversed(row.split()[:2])) + ": validation loss ") and told.endswith(
        " (1 seed)."
    )
    assert last == f"report: {run / 'report.html'}"
    page = (run / "report.html").read_text()
    assert "Number line of e4m3" in page
    assert "share of updates that change no code by layer and step" in page


def test_json_has_the_answer_and_the_paths(altgrad: Any, run: Path, tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    said = altgrad("report", run, "--out", beside, "--json")
    told = json.loads(said.out)
    assert (said.code, told["page"], told["markdown"]) == (0, str(beside / "report.html"), str(beside / "report.md"))
    assert told["answer"] in " ".join((beside / "report.md").read_text().replace("\\", "").split())
    assert all(Path(path).is_file() for path in told["figures"] + told["tables"])
    assert not (run / "report.html").exists()


def test_an_unfinished_run_is_reported_with_exit_code_0(altgrad: Any, run: Path) -> None:
    (run / "summary.json").unlink()
    said = altgrad("report", run)
    assert (said.code, said.err) == (0, "")
    assert said.out.lstrip().startswith("No cell has ended yet.\n")


def test_a_directory_that_is_no_study_exits_2(altgrad: Any, tmp_path: Path) -> None:
    said = altgrad("report", tmp_path)
    assert said.code == 2
    assert said.err == (
        f"altgrad: {tmp_path}: is neither a study nor a run: it has no cells.json and no records.jsonl, nor has any "
        f"folder in it; a study is what altgrad run MANIFEST leaves in its directory\n"
    )


def test_a_place_that_cannot_be_written_to_exits_1(altgrad: Any, run: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    said = altgrad("report", run, "--out", taken)
    assert said.code == 1
    assert said.err == f"altgrad: {taken}: is not a directory; choose another place with --out\n"
