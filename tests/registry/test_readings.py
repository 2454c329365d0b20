"""A stranger's reading is shown in progress, `diagnose` and reports by the facts its monitor declares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from altgrad_core.contracts.reading import Reading
from altgrad_core.registry.registry import installed

if TYPE_CHECKING:
    from tests.conftest import Said

GLOW = """
    from typing import ClassVar
    from altgrad_core import Monitor, Reading, hookimpl

    class Glow(Monitor):
        "How much every weight glows, which grows by 1 each step."
        name: ClassVar = "glow"
        reports: ClassVar = (
            Reading("glow", "glow of the weights", "lumen", worse="up", limit=4.0, chart="heat"),
            Reading("warmth", unit="share"),
        )

        def observe(self, event):
            paths = [w.path for w in event.weights(self.layers)]
            glow = {path: float(event.step + at) for at, path in enumerate(paths)}
            return {"glow": glow, "warmth": dict.fromkeys(paths, event.step / 10)}

    @hookimpl
    def altgrad_monitors():
        yield Glow
"""
REPORT = ("report.html", "report.md")


@pytest.fixture
def glowing(
    install: Callable[..., Path], tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> tuple[Path, Said]:
    """A run with the monitor of a stranger, and what it said."""
    install("glow-plugin", GLOW)
    out = tmp_path / "run"
    return out, altgrad("run", tiny, "--set", "monitor=[{use='glow'}]", "--out", out)


def test_progress_shows_it_by_its_unit_and_diagnose_alarms_beyond_its_limit(
    glowing: tuple[Path, Said], altgrad: Callable[..., Said]
) -> None:
    out, said = glowing
    assert said.code == 0
    first = next(line for line in said.err.splitlines() if "step 2/6" in line)
    assert "glow 4 lumen  warmth 10 %" in first
    said = altgrad("diagnose", out).out
    assert "The weakest layer is lm_head (weight): its glow was " in said
    assert "| lm_head | weight | glow | 6 |" in said


def test_the_report_draws_it_by_its_chart_and_needs_no_plugin(
    glowing: tuple[Path, Said],
    altgrad: Callable[..., Said],
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = glowing[0]
    assert altgrad("report", out, "--out", tmp_path / "with").code == 0
    page = (tmp_path / "with" / "report.html").read_text()
    assert "glow of the weights (glow) by layer" in page
    assert (tmp_path / "with" / "figures" / "reading-01-warmth.svg").exists()
    for path in site.iterdir():
        path.rename(tmp_path / f"gone-{path.name}")
    installed.cache_clear()
    assert "glow" not in installed().names("monitor")
    assert altgrad("report", out, "--out", tmp_path / "without").code == 0
    one, other = ([(tmp_path / name / file).read_bytes() for file in REPORT] for name in ("with", "without"))
    assert one == other


@pytest.mark.parametrize(
    "damaged",
    [None, {}, {"name": 1}, [1], "x"],
)
def test_facts_that_are_damaged_are_none(damaged: Any) -> None:
    assert Reading.of(damaged) is None


def test_facts_come_back_as_they_were_written() -> None:
    reading = Reading("a-b", "label", "dB", worse="down", limit=1.0, chart="bar")
    assert Reading.of(reading.written()) == reading
    assert Reading("a-b").label == "a b"
    assert Reading.of({"name": "a", "worse": "sideways", "limit": "x", "chart": 3}) == Reading("a")


def test_a_limit_needs_a_direction() -> None:
    with pytest.raises(ValueError, match=r"^glow: limit = 4\.0 without worse; expected worse = \"up\" or \"down\"$"):
        Reading("glow", limit=4.0)
