"""A study with all that a report can show, and the page as a parser sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from altgrad_core import load_format
from altgrad_core.experiments.report.write import Written, write_report
from altgrad_core.running.state.checkpoint import write_checkpoint

VOID = {"meta", "br", "wbr", "hr", "img", "link", "input"}


@dataclass
class Parsed(HTMLParser):
    """What is in a page: the words, the tags, the ids and the links; `unbalanced` tags that do not match."""

    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href"):
                self.links.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if data.strip() and not {"style", "title"} & set(self.open):
            self.words.append(" ".join(data.split()))


def parsed(path: Path) -> Parsed:
    found = Parsed()
    found.feed(path.read_text())
    return found


@pytest.fixture
def page() -> Callable[[Path], Parsed]:
    """A page as a parser sees it."""
    return parsed


@pytest.fixture
def report(write: Callable[..., Path]) -> Callable[..., Written]:
    """Writes a study to the disk, and its report into it."""
    return lambda cells, **plan: write_report(write(cells, **plan))


def facts(name: str) -> dict[str, Any]:
    return load_format(name).facts()


@pytest.fixture
def checkpoint() -> Callable[..., Path]:
    """Writes a checkpoint of these weights by layer, each with a format and a scale, into a run directory."""

    def write(run: Path, step: int, layers: dict[str, tuple[Any, dict[str, Any], Any]]) -> Path:
        tensors = {f"{path}.weight": np.array(weight, dtype=np.float32) for path, (weight, _, _) in layers.items()}
        operands = {path: {"weight": {"format": form, "scale": scale}} for path, (_, form, scale) in layers.items()}
        plan = json.dumps({"step": step, "operands": operands}).encode()
        run.mkdir(parents=True, exist_ok=True)
        return write_checkpoint(run / "checkpoints", step, {"model.safetensors": save(tensors), "plan.json": plan})

    return write


@pytest.fixture
def format_facts() -> Callable[[str], dict[str, Any]]:
    """The facts of an installed format, as a plan has them."""
    return facts
