"""The notebooks run from start to end, and give what is committed."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NUMBER = re.compile(r"-?\d+\.\d+|-?\d+")
CLOSE = 0.05  # other processors change last bits, and training amplifies them


def texts(notebook: dict) -> list[str]:
    """What the cells printed, one text a cell."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    streams = [[output for output in cell["outputs"] if output["output_type"] == "stream"] for cell in cells]
    return ["".join("".join(output["text"]) for output in outputs if output["name"] == "stdout") for outputs in streams]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_executed_whole_and_small(path: Path) -> None:
    notebook = json.loads(path.read_text())
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert path.stat().st_size < 300_000
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    assert not any(output["output_type"] == "error" or output.get("name") == "stderr" for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_prints_what_is_committed(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    # the cells call the command of this environment
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    committed = json.loads(path.read_text())
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=400, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for told, found in zip(texts(committed), texts(notebook), strict=True):
        assert NUMBER.sub("#", found).split() == NUMBER.sub("#", told).split()
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in (found, told)]
        assert numbers[0] == pytest.approx(numbers[1], rel=CLOSE, abs=CLOSE)
