"""`altgrad new-plugin`: what it writes is installed, keeps the laws of its kind, and is used by its manifest."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.cli.scaffold import package_of
from altgrad_core.registry.discover import discover
from altgrad_core.registry.kinds import KINDS
from altgrad_core.registry.registry import Registry


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_is_a_plugin_of_that_name(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"altgrad_scaffolded_{kind}"
    for path, text in package_of(kind, f"scaffolded-{kind}").items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
        assert kind in text or path == "pyproject.toml"
    monkeypatch.syspath_prepend(str(tmp_path))
    (plugin,) = discover([EntryPoint(name="scaffolded", value=module, group="altgrad")])
    assert plugin.broken is None
    (entry,) = Registry([plugin])
    assert (entry.kind, entry.name) == (kind, f"scaffolded-{kind}")


def test_a_name_that_the_example_has_already_does_not_clash() -> None:
    code = package_of("tracker", "line-count")["altgrad_line_count/__init__.py"]
    assert "class LineCount(Tracker)" in code and "class LineCountTracker(TrackerSpec)" in code


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("fromat", "a", 'KIND: no kind of plugin "fromat"; one of format, optimizer, monitor,'),
        ("format", "A b", 'NAME: "A b" is not a valid name of a plugin; expected lower-case letters, digits and hyphens, such as my-format'),
        ("format", "e4m3", 'NAME: the format "e4m3" is installed already; choose another name'),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(
    kind: str, name: str, told: str, tmp_path: Path, altgrad: Callable[..., Any]
) -> None:
    said = altgrad("new-plugin", kind, name, "--out", tmp_path / "new")
    assert said.code == 2 and told in said.err and not (tmp_path / "new").exists()


def test_a_directory_that_exists_is_left_alone(tmp_path: Path, altgrad: Callable[..., Any]) -> None:
    said = altgrad("new-plugin", "format", "mine", "--out", tmp_path)
    assert (said.code, list(tmp_path.iterdir())) == (2, [])


@pytest.mark.slow
def test_every_kind_is_installed_tested_and_run(tmp_path: Path, altgrad: Callable[..., Any]) -> None:
    places = [tmp_path / kind for kind in KINDS]
    for kind, place in zip(KINDS, places, strict=True):
        assert altgrad("new-plugin", kind, f"my-own-{kind}", "--out", place).code == 0
    site = tmp_path / "site"
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*words: object, at: Path = tmp_path) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, words)], cwd=at, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", site, *places)
    assert run("-m", "altgrad_core", "list-plugins").count("my-own-") >= len(KINDS)
    for kind, place in zip(KINDS, places, strict=True):
        assert "1 passed" in run("-m", "pytest", "-q", "-p", "no:xdist", at=place)
        run("-m", "altgrad_core", "run", "example.toml", at=place)
        assert f"my-own-{kind}" in run("-m", "altgrad_core", "show", f"my-own-{kind}", at=place)
