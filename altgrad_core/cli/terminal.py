"""Lines for a terminal: what came from manifests, records and names cannot steer it."""

from __future__ import annotations

import sys

from altgrad_core.text import printable


def say(text: object, *, err: bool = False) -> None:
    """Print a line, on stderr if asked, with what could steer a terminal written as escapes."""
    print(printable(str(text)), file=sys.stderr if err else sys.stdout, flush=err)
