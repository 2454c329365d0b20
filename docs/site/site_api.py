"""The page of public names: one section a package, in the order in which a reader meets them."""

from __future__ import annotations

import ast
from pathlib import Path

import altgrad_core

STUB = Path(altgrad_core.__file__).with_suffix(".pyi")
SECTIONS = {
    "running": "Quantize a model, train it, watch it",
    "experiments": "Run and load",
    "numerics": "Numbers",
    "contracts": "Write a plugin",
    "errors": "Errors",
    "text": "Text",
}
"""By the package of `altgrad_core` that defines a name, the heading under which it is told."""


def api_page() -> str:
    """Every name that `altgrad_core` exports, from its docstring."""
    parts = [
        "# Python API\n\n```python\nimport altgrad_core as ag\n```\n\nEvery name on this page is imported from `altgrad_core`.\n"
    ]
    for package, title in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += [
            f"::: altgrad_core.{module}.{name}\n" for module, name in public_names() if module.split(".")[0] == package
        ]
    return "\n".join(parts)


def public_names() -> list[tuple[str, str]]:
    """Module (without `altgrad_core`) and name of everything public, in the order of the list."""
    tree = ast.parse(STUB.read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [(node.module or "", alias.name) for node in imports for alias in node.names]
