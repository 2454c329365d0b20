"""The registry: everything installed, by kind and name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from altgrad_core.errors import PluginError
from altgrad_core.registry.discover import Plugin, discover
from altgrad_core.registry.kinds import KINDS


@dataclass(frozen=True)
class Entry:
    """One installed thing: a format instance or a class, and the plugin it comes from."""

    kind: str
    name: str
    item: Any
    plugin: Plugin

    @property
    def summary(self) -> str:
        """One sentence for listings."""
        return KINDS[self.kind].describe(self.item)


class Registry:
    """An immutable collection of installed things, by kind and name."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self.plugins = tuple(plugins)
        self._entries: Mapping[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
        for plugin in self.plugins:
            for offer in plugin.offers:
                self._entries[offer.kind][offer.name] = Entry(offer.kind, offer.name, offer.item, plugin)

    def __iter__(self) -> Iterator[Entry]:
        for entries in self._entries.values():
            yield from entries.values()

    @property
    def broken(self) -> tuple[Plugin, ...]:
        """Plugins that could not be loaded."""
        return tuple(plugin for plugin in self.plugins if plugin.broken)

    def names(self, kind: str) -> list[str]:
        """Every name of one kind, in the order of the plugins."""
        return list(self._entries[kind])

    def entry(self, kind: str, name: str) -> Entry:
        """What is installed under this kind and name (case-insensitive).

        Raises:
            PluginError: there is none; the message guesses what was meant and names broken plugins.
        """
        try:
            return self._entries[kind][name.lower()]
        except KeyError:
            raise PluginError(f'no {kind} "{name}"{suggestion(name, self.names(kind))}{self._broken_hint()}') from None

    def get(self, kind: str, name: str) -> Any:
        """The item itself: a format instance, or the class of anything else."""
        return self.entry(kind, name).item

    def _broken_hint(self) -> str:
        if not self.broken:
            return ""
        listed = "; ".join(f"{plugin.source}: {plugin.broken}" for plugin in self.broken)
        return f" (plugins that could not be loaded: {listed})"


def suggestion(name: str, names: Iterable[str]) -> str:
    """`; did you mean "x"?` for a near miss, else `; there is a, b, c`."""
    known = list(names)
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; there is {', '.join(known)}" if known else "; none is installed"


@lru_cache(maxsize=1)
def installed() -> Registry:
    """The registry of everything installed here, loaded once per process."""
    return Registry(discover())
