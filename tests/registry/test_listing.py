"""How plugins are listed, broken ones included."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.registry.test_discover import GOOD


def test_the_listing_shows_broken_plugins(install: Callable[..., Path], altgrad: Callable[..., Any]) -> None:
    install("sad-plugin", "import no_such_module_anywhere")
    install("good-plugin", GOOD)
    said = altgrad("list-plugins")
    assert said.code == 0
    assert (
        "broken sad-plugin 1.2 (sad_plugin): ModuleNotFoundError: No module named 'no_such_module_anywhere' "
        "(sad_plugin.py, line 1)" in said.out
    )
    assert "thirds (good-plugin 1.2)" in " ".join(said.out.split())
    listed = altgrad("list-plugins", "--kind", "format").out.splitlines()
    assert [line.split()[:3] for line in listed if "thirds" in line] == [["thirds", "good-plugin", "1.2"]]


def test_the_listing_as_json_shows_broken_plugins(install: Callable[..., Path], altgrad: Callable[..., Any]) -> None:
    install("sad-plugin", "import no_such_module_anywhere")
    install("good-plugin", GOOD)
    rows = json.loads(altgrad("list-plugins", "--json").out)
    assert [row for row in rows if row["status"] == "broken"] == [
        {
            "kind": None,
            "name": None,
            "plugin": "sad_plugin",
            "distribution": "sad-plugin",
            "version": "1.2",
            "status": "broken",
            "reason": "ModuleNotFoundError: No module named 'no_such_module_anywhere' (sad_plugin.py, line 1)",
        }
    ]
    assert [row for row in rows if row["distribution"] == "good-plugin"] == [
        {
            "kind": "format",
            "name": "thirds",
            "plugin": "good_plugin",
            "distribution": "good-plugin",
            "version": "1.2",
            "status": "ok",
            "summary": "Thirds from -1 to 1.",
        }
    ]


def test_a_reason_with_square_brackets_is_printed_as_it_is(
    install: Callable[..., Path], altgrad: Callable[..., Any]
) -> None:
    install("sad-plugin", "raise ValueError('expected [red] or [/red], got [bold]')")
    said = altgrad("list-plugins")
    assert said.code == 0
    assert "broken sad-plugin 1.2 (sad_plugin): ValueError: expected [red] or [/red], got [bold]" in said.out


def test_a_summary_with_square_brackets_is_printed_as_it_is(
    install: Callable[..., Path], altgrad: Callable[..., Any]
) -> None:
    install("good-plugin", GOOD.replace("Thirds from -1 to 1.", "Thirds in [-1, 1], see [/link]."))
    said = altgrad("list-plugins", "--kind", "format")
    assert said.code == 0
    assert "Thirds in [-1, 1], see [/link]." in said.out
