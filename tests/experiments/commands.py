"""Studies trained by the command line in processes of their own, and what such processes leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from altgrad_core.results.lines import RecordReader
from altgrad_core.running.state.checkpoint import checkpoint_steps, read_checkpoint
from tests.conftest import TINY

FOUR = "[matrix]\n'recipe[0].weight.format' = ['e5m2', 'e3m4']\nrun.seed = [1, 2]\n"


def written(folder: Path, matrix: str = FOUR) -> Path:
    """A study of tiny runs."""
    path = folder / "study.toml"
    path.write_text(TINY.replace('name = "tiny"\n', "").replace("seed = 3\n", "") + matrix)
    return path


def cells_of(out: Path) -> list[dict[str, Any]]:
    return list(json.loads((out / "cells.json").read_text())["cells"])


def truth(run: Path) -> tuple[bytes, dict[str, bytes]]:
    """The records of a run, and its last checkpoint, but for the names in them."""
    records = [{**record, "name": ""} for record in RecordReader(run / "records.jsonl")]
    newest = checkpoint_steps(run / "checkpoints")[0]
    return json.dumps(records).encode(), read_checkpoint(run / "checkpoints" / f"step-{newest}")


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "altgrad_core.cli.main", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(process: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
