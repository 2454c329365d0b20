"""Whatever an import path names: `package.module:name`."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from altgrad_core.errors import ManifestError, PluginError, reason_of
from altgrad_core.manifest.explain import problem_at
from altgrad_core.manifest.lines import Location
from altgrad_core.manifest.load import ManifestFile


def imported(use: str) -> Any:
    """What `use` names; a module in the current directory is found as well, as for `python -m`.

    Raises:
        PluginError: it cannot be imported, or has no such name; the message says why.
    """
    module_name, _, attribute = use.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    near: list[str] = []
    try:
        module = import_module(module_name)
        near = difflib.get_close_matches(attribute, dir(module), n=1)
        return getattr(module, attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module of a user: whatever it raises is its own failure
        guess = f'; did you mean "{module_name}:{near[0]}"?' if near else ""
        raise PluginError(f'cannot import "{use}": {reason_of(error)}{guess}') from None


def refuse_imports(source: ManifestFile) -> None:
    """Refuse a manifest that names an import path anywhere; nothing is imported to find out.

    Raises:
        ManifestError: a line for every one.
    """
    result = [
        problem_at(source, location, f'"{use}" would be imported, and --no-imports forbids it; look at the code first')
        for location, use in _uses(source.data, ())
        if ":" in use
    ]
    if result:
        raise ManifestError("\n".join(result))


def names_an_import(source: ManifestFile) -> bool:
    """Whether a manifest names an import path anywhere."""
    return any(":" in use for _, use in _uses(source.data, ()))


def _uses(value: Any, location: Location) -> Iterator[tuple[Location, str]]:
    """Every `use`, and where it stands."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key == "use" and isinstance(inner, str):
            yield (*location, key), inner
        yield from _uses(inner, (*location, key))
