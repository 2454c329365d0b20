"""The scripts and sections of the results, for their tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "README.md"


def script(folder: Path) -> ModuleType:
    """The script `analysis.py` of a study; those of other studies have the same name."""
    before, path = set(sys.modules), list(sys.path)
    spec = importlib.util.spec_from_file_location(f"analysis of {folder.name}", folder / "analysis.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = path
    for name in {"contrasts"} - before:
        sys.modules.pop(name, None)
    return module


def section_of(heading: str) -> str:
    """The section of the results that begins with a heading."""
    text = RESULTS.read_text()
    begin = text.index(f"## {heading}")
    return text[begin : text.index("\n## ", begin)]
