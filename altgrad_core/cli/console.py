"""The console of rich, through which no text from elsewhere controls the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich import console
from rich.segment import Segment

from altgrad_core.text import printable


class Console(console.Console):
    """A console of rich that escapes the text it prints; the colours and the movements of rich itself go through."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.push_render_hook(_Hook(self))


@dataclass(frozen=True)
class _Hook(console.RenderHook):
    to: console.Console

    def process_renderables(self, renderables: list[console.ConsoleRenderable]) -> list[console.ConsoleRenderable]:
        return [_Escaped(renderable) for renderable in renderables]


@dataclass(frozen=True)
class _Escaped:
    """A renderable whose text is escaped after it was laid out."""

    inner: console.ConsoleRenderable

    def __rich_console__(self, on: console.Console, options: console.ConsoleOptions) -> Iterable[Segment]:
        for segment in on.render(self.inner, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
