"""Tiny distributions in a temporary folder: one module and the metadata that an installer would write."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from altgrad_core.registry.registry import installed

Install = Callable[..., Path]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path, of this process and of those it starts."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    )
    return folder


@pytest.fixture
def install(site: Path) -> Iterator[Install]:
    """Install a plugin: `install("my-plugin", source)`; its module and its entry point have the name with underscores."""
    before = set(sys.modules)

    def put(name: str, source: str, *, version: str = "1.2", needs: str = "") -> Path:
        module = name.replace("-", "_")
        (site / f"{module}.py").write_text(dedent(source))
        metadata = site / f"{module}-{version}.dist-info"
        metadata.mkdir()
        requires = f"Requires-Dist: {needs}\n" if needs else ""
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        (metadata / "entry_points.txt").write_text(f"[altgrad]\n{module} = {module}\n")
        installed.cache_clear()
        return site / f"{module}.py"

    yield put
    installed.cache_clear()
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", None)).startswith(str(site)):
            del sys.modules[module]
