"""The scripts and sections of the results, for their tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "README.md"


def script(path: Path) -> ModuleType:
    """A script of the results, or that of a folder, `analysis.py`; those of several folders have the same name."""
    path = path / "analysis.py" if path.is_dir() else path
    before, places = set(sys.modules), list(sys.path)
    spec = importlib.util.spec_from_file_location(f"{path.stem} of {path.parent.name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = places
    for name in {"arms", "contrasts"} - before:
        sys.modules.pop(name, None)
    return module


def section_of(heading: str) -> str:
    """The section of the results that begins with a heading."""
    text = RESULTS.read_text()
    begin = text.index(f"## {heading}")
    return text[begin : text.index("\n## ", begin)]
