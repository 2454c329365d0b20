"""Where a study may be written."""

from __future__ import annotations

from pathlib import Path

from altgrad_core.errors import ManifestError, RunError
from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.records.directory import CELLS, RunDirectory
from altgrad_core.records.files import read_json


def refuse_another(matrix: Matrix, study: Path) -> None:
    """Whether a directory can be that of a study.

    Raises:
        ManifestError: a single run is there, another study, or a manifest of somebody.
    """
    if RunDirectory(study).is_begun:
        raise ManifestError(f"{study}: a single run is here; choose another directory with --out")
    if not (study / CELLS).exists() and _is_other(study / "manifest.toml", matrix.source.text):
        raise ManifestError(
            f"{study}: its manifest.toml is of no study that was begun here, and would be replaced; choose another directory with --out"
        )
    if matrix.known:
        return  # the cells here are those of this manifest
    try:
        name = read_json(study / CELLS)["name"]
    except (OSError, RunError, KeyError):
        return
    if name != matrix.name:
        raise ManifestError(
            f'{study}: the study "{name}" is here, and this one is "{matrix.name}"; choose another directory with --out, '
            "or pass --overwrite"
        )


def _is_other(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() != text.encode()
    except FileNotFoundError:
        return False
    except OSError:
        return True
