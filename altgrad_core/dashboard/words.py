"""What the pages say of numbers, times and places."""

from __future__ import annotations

from urllib.parse import parse_qs, quote

from altgrad_core.results.catalogue import Listed


def share(listed: Listed) -> float:
    """The same from 0 to 1."""
    done, whole = (listed.ended, listed.cells) if listed.kind == "study" else (listed.step, listed.steps)
    return min(1.0, (done or 0) / whole) if whole else 0.0


def link(listed: Listed) -> str:
    """The address of its page."""
    return f"/{listed.kind}?at={quote(listed.place, safe='')}"


def place_in(search: object) -> str:
    """The place that the query of an address names; none where a request that no page sends has something else there."""
    query = search if isinstance(search, str) else ""
    return parse_qs(query.removeprefix("?")).get("at", [""])[0]
