"""What `check` says of a study before it is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Said


@pytest.mark.parametrize(
    ("seeds", "margin", "told"),
    [
        ("[1]", "", ["1 seed: too few to judge an effect; 3 are needed"]),
        (
            "[1, 2, 3, 4, 5, 6]",
            "margin = 0.005",
            [
                "6 seeds: detects, in 80 % of studies, a mean difference of 1.43 standard deviations of the paired differences",
                "the margin, 0.005, is detected where that standard deviation is at most 0.0035",
            ],
        ),
    ],
)
def test_check_says_how_small_an_effect_the_seeds_can_show(
    seeds: str, margin: str, told: list[str], tiny: Path, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("altgrad_core.cli.matrix.print_estimate", lambda matrix: None)
    manifest = tiny.with_name("study.toml")
    manifest.write_text(tiny.read_text().replace('name = "tiny"\n', "") + f'[matrix]\n"run.seed" = {seeds}\n{margin}\n')
    said = altgrad("check", manifest)
    assert said.code == 0
    assert said.out.splitlines()[-len(told) :] == told


def test_a_margin_is_above_zero(tiny: Path, altgrad: Callable[..., Said]) -> None:
    manifest = tiny.with_name("study.toml")
    manifest.write_text(tiny.read_text().replace('name = "tiny"\n', "") + '[matrix]\n"run.seed" = [1]\nmargin = 0.0\n')
    said = altgrad("check", manifest)
    assert said.code == 2 and "matrix.margin: " in said.err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("check", "--table", "--json"), "--json: the table has no JSON"),
        (("check", "--out", "somewhere"), "--out: is the directory whose cells --table shows"),
        (("run", "--dry-run", "--from", "nowhere@3"), "--from: --dry-run looks at no checkpoint"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    command: tuple[str, ...], said: str, tiny: Path, altgrad: Callable[..., Said]
) -> None:
    result = altgrad(command[0], tiny, *command[1:])
    assert result.code == 2
    assert said in result.err
