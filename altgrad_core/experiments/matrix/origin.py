"""What decides how the cells of a manifest are resolved, as a hash."""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import suppress
from pathlib import Path

from altgrad_core.experiments.matrix.cell import SCHEMA
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.registry.registry import Registry


def origin_of(source: ManifestFile, registry: Registry) -> str:
    """SHA-256 of what decides how the cells of a manifest are resolved.

    That is the manifest, the version of Python, and the versions and the sources of AltGrad and of all plugins.
    """
    from altgrad_core import __version__

    packages = {"altgrad_core", *(plugin.package for plugin in registry.plugins)}
    facts = {
        "versions": [SCHEMA, __version__, sys.version],
        "plugins": [[plugin.source, plugin.version, plugin.broken] for plugin in registry.plugins],
        "sources": {package: sources(package) for package in sorted(packages)},
        "manifest": [str(source.path.resolve()), source.data],
        "settings": [[list(location), option] for location, option in source.settings.items()],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def sources(package: str) -> str:
    """SHA-256 of the Python files of an imported package or module, with their names; of no file where there are none."""
    module = sys.modules.get(package)
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    file = getattr(module, "__file__", None)
    files = [(folder, path) for folder in folders for path in sorted(folder.rglob("*.py"))]
    result = hashlib.sha256()
    for folder, path in files or ([(Path(file).parent, Path(file))] if file else []):
        with suppress(OSError):  # removed at this moment
            content = path.read_bytes()
            result.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return result.hexdigest()
