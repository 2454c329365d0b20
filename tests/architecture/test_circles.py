"""No file and no folder of the core imports another that imports it, imports for type checkers included."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "altgrad_core"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(CORE.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """The modules of the core that a file imports anywhere; `from package import module` is one of the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if name in MODULES}
            found |= {node.module or ""} if any(name not in MODULES for name in inner) else set()
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & set(MODULES)


@cache
def graph() -> dict[str, set[str]]:
    """What every module of the core imports of it."""
    return {name: imported(path) - {"altgrad_core"} for name, path in MODULES.items()}


def test_no_file_imports_in_a_circle() -> None:
    assert len(list(TopologicalSorter(graph()).static_order())) == len(MODULES)  # CycleError names the circle


def test_no_file_of_a_plugin_imports_in_a_circle() -> None:
    files = {f"{path.parent.name}.{path.stem}": path for path in sorted((ROOT / "plugins").rglob("*.py"))}
    own = {name: path for name, path in files.items() if path.stem != "__init__"}  # that one hands names on
    within = {
        name: {
            node.module or ""
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module in own
        }
        for name, path in own.items()
    }
    TopologicalSorter(within).prepare()  # CycleError names the circle


@pytest.mark.parametrize("package", ["altgrad_core", "altgrad_core.running", "altgrad_core.experiments"])
def test_no_folder_imports_in_a_circle(package: str) -> None:
    def folder(module: str) -> str:
        return ".".join(module.split(".")[: package.count(".") + 2])

    folders: dict[str, set[str]] = {}
    for name, others in graph().items():
        if name.startswith(f"{package}."):
            mine = folders.setdefault(folder(name), set())
            mine |= {folder(other) for other in others if other.startswith(f"{package}.")} - {folder(name)}
    TopologicalSorter(folders).prepare()  # CycleError names the circle


def test_a_quantizer_imports_no_backend_and_the_reference_imports_none_but_itself() -> None:
    def reached(name: str, seen: set[str]) -> set[str]:
        for other in imported(MODULES[name]) - seen:
            reached(other, seen | {other})
            seen |= {other} | reached(other, seen | {other})
        return seen

    package = "altgrad_core.numerics"
    assert {n for n in reached(f"{package}.quantizer", set()) if ".backends" in n or ".kernels" in n} == set()
    own = {n for n in reached(f"{package}.backends.reference", set()) if ".backends" in n or ".kernels" in n}
    assert own == {f"{package}.backends.case", f"{package}.backends.reference_walk"}
