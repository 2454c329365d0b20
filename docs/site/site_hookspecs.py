"""The page of hooks: the docstring of each, with its example."""

from __future__ import annotations

from inspect import cleandoc, getdoc
from textwrap import dedent

from altgrad_core.contracts import hookspecs
from altgrad_core.registry.kinds import KINDS


def hooks_page() -> str:
    """The introduction of the module, then every hook."""
    first, _, rest = cleandoc(hookspecs.__doc__ or "").partition("\n\n")
    parts = [f"# Hooks\n\n{first}\n\n{rest}\n"]
    parts += [_hook(kind.hook) for kind in KINDS.values()]
    return "\n".join(parts)


def _hook(name: str) -> str:
    about, _, example = (getdoc(getattr(hookspecs, name)) or "").partition("\nExample:\n")
    return f"## {name}\n\n{about.strip()}\n\n{dedent(example).strip()}\n"
