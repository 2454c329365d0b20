"""What decides how the cells of a manifest are resolved, as a hash."""

from __future__ import annotations

import hashlib
import json
import sys

from altgrad_core.experiments.matrix.cell import SCHEMA
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.registry.registry import Registry


def origin_of(source: ManifestFile, registry: Registry) -> str:
    """SHA-256 of what decides how the cells of a manifest are resolved: the manifest, AltGrad, Python and all plugins."""
    from altgrad_core import __version__

    facts = {
        "versions": [SCHEMA, __version__, sys.version],
        "plugins": [[plugin.source, plugin.version, plugin.broken] for plugin in registry.plugins],
        "manifest": [str(source.path.resolve()), source.data],
        "settings": [[list(location), option] for location, option in source.settings.items()],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
