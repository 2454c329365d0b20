"""A headless Chromium of the system, and the real program that serves a directory to it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.patience import LONGEST

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "/usr/bin/chromium")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves a directory in a process of its own; the address."""
    started: list[subprocess.Popen[str]] = []

    def begin(directory: Path) -> str:
        command = [sys.executable, "-m", "altgrad_core", "serve", str(directory), "--port", "0"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})
        started.append(process)
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", said)
        assert found is not None, said
        return found[0]

    yield begin
    for process in started:
        process.terminate()
        process.wait(timeout=LONGEST)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of its own; a test fails if a script of it does, or if it asks another machine for anything."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened, wrong = context.new_page(), []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
    opened.on("request", lambda request: wrong.append(request.url) if _is_elsewhere(request.url) else None)
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield opened
    context.close()
    assert wrong == []


def _is_elsewhere(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))
