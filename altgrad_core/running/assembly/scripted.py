"""Runs of a training script: their manifest describes the script, and no command can repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from altgrad_core.errors import ManifestError

SCRIPT = "script"
"""The table of a manifest that describes a training script."""
CONTINUE = "continue it: watch(..., resume=True), then watch.load_state_dict(what watch.state_dict() returned)"
RUN = "repeat the run: start the script"
EXPORT = "build its model: call plan.export there"
EVALUATE = "build its model: call altgrad_core.evaluate there"


def refuse_script(manifest: Mapping[str, Any], path: Path, what: str = CONTINUE) -> None:
    """Refuse what a manifest alone cannot do with the run of a training script.

    Args:
        what: that the script alone can do, and how.

    Raises:
        ManifestError: this is the manifest of one.
    """
    if SCRIPT in manifest:
        raise ManifestError(f"{path}: is the run of a training script; only the script can {what}")
