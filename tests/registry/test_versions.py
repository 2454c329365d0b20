"""Plugins that were made for another version, and entry points whose package is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import altgrad_core
from altgrad_core.registry.registry import installed
from tests.registry.test_discover import GOOD, plugin

if TYPE_CHECKING:
    from tests.conftest import Said

HERE = altgrad_core.__version__


@pytest.mark.parametrize("needs", ["altgrad>=99", "altgrad (<0.0.1)", "altgrad==99.*; python_version > '3'"])
def test_a_plugin_for_another_version_is_listed_with_the_version_it_needs(
    needs: str, install: Callable[..., Path]
) -> None:
    install("sad-plugin", GOOD, needs=needs)
    wanted = needs.removeprefix("altgrad").partition(";")[0].strip(" ()")
    reason = f"needs altgrad {wanted}, and this is {HERE}; install a version that fits"
    found = plugin(installed(), "sad-plugin")
    assert (found.broken, found.offers) == (reason, ())
    assert "thirds" not in installed().names("format")


@pytest.mark.parametrize(
    "needs", ["altgrad", f"altgrad>={HERE}", "altgrad>=99; extra == 'new'", "strange >> 1", "numpy<1"]
)
def test_other_requirements_are_no_reason(needs: str, install: Callable[..., Path]) -> None:
    install("good-plugin", GOOD, needs=needs)
    assert plugin(installed(), "good-plugin").broken is None
    assert "thirds" in installed().names("format")


def test_the_entry_point_of_a_package_that_is_gone_is_listed(
    install: Callable[..., Path], altgrad: Callable[..., Said], tiny: Path
) -> None:
    install("gone-plugin", GOOD).unlink()
    installed.cache_clear()
    assert plugin(installed(), "gone-plugin").broken == "ModuleNotFoundError: No module named 'gone_plugin'"
    told = altgrad("check", tiny, "--set", 'recipe[0].weight.format="thirds"')
    assert (told.code, 'no format "thirds"' in told.err) == (2, True)
    assert altgrad("check", tiny).code == 0
