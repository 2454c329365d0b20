"""Whatever an import path names: `package.module:name`."""

from __future__ import annotations

import difflib
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from altgrad_core.errors import PluginError, reason_of


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
