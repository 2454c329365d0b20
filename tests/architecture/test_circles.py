"""No file of numerics imports another that imports it, imports for type checkers included."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
NUMERICS = ROOT / "altgrad_core" / "numerics"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(NUMERICS.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """The modules of numerics that a file imports anywhere; `from package import module` is one of the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if name in MODULES}
            found |= {node.module or ""} if any(name not in MODULES for name in inner) else set()
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & set(MODULES)


def test_no_file_of_numerics_imports_in_a_circle() -> None:
    graph = {name: imported(path) for name, path in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)  # CycleError names the circle


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
