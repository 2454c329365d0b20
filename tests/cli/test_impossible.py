"""What could never come about is refused before the first step: exit code 2, file and line, and what to change."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.conftest import TINY_MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Said

MANIFEST = f"""
[run]
name = "tiny"
steps = 30
evaluate_every = 10

{TINY_MODEL.strip()}

[optimizer]
use = "adamw"

[[recipe]]
layers = "blocks.*"
weight = {{ format = "e4m3" }}
"""
FLIPS = '[[monitor]]\nuse = "flips"\n'
WIDEN = '[[intervention]]\nuse = "widen-stalled"\nto = "e3m4"\n'
SHIFT = '[[intervention]]\nuse = "emergency-shift"\n'
RULE = '[[intervention]]\nuse = "rule"\n'
LAYERS = "wte, wpe, blocks.0.attn.qkv, blocks.0.attn.c_proj, blocks.0.mlp.fc, blocks.0.mlp.c_proj, lm_head"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "tiny.toml"


@pytest.mark.parametrize(
    ("tables", "line", "said"),
    [
        (
            FLIPS + "start = 9\nend = 3\n",
            "end = 3",
            "monitor[0].end: flips would never observe: it ends at step 3 and starts at step 9; expected an end that is "
            "not before the start",
        ),
        (
            FLIPS + "start = 11\nend = 19\nevery = 10\n",
            "every = 10",
            "monitor[0].every: flips would never report: no step from 11 to 19 is a multiple of every = 10",
        ),
        (
            FLIPS + "start = 31\n",
            "start = 31",
            'monitor[0].start: flips reports "flips" from step 31 on, and the run has 30',
        ),
        (
            '[[monitor]]\nuse = "rank-drop"\nwarmup = 31\n',
            "warmup = 31",
            'monitor[0].warmup: rank-drop reports "rank-drop" from step 31 on, and the run has 30',
        ),
        (
            FLIPS + "every = 100\n" + WIDEN,
            "[[intervention]]",
            'intervention[0]: widen-stalled reads "flip-rate", which would never come in 30 steps: flips reports every '
            "100 steps; let it report more often, or give the run more steps",
        ),
        (
            FLIPS + "every = 4\nend = 7\n" + WIDEN,
            "[[intervention]]",
            'intervention[0].patience: widen-stalled waits for 20 readings of "flip-rate", and only 1 comes in 30 '
            "steps: flips reports every 4 steps to 7; reduce its patience, or provide more readings",
        ),
        (
            '[[intervention]]\nuse = "stop-on-divergence"\npatience = 31\n',
            "patience = 31",
            'intervention[0].patience: stop-on-divergence waits for 31 readings of "relative-loss", and only 30 come in '
            "30 steps; reduce its patience, or provide more readings",
        ),
        (
            RULE + 'reading = "validation-loss"\nabove = 1\npatience = 4\n',
            "patience = 4",
            'intervention[0].patience: rule waits for 4 readings of "validation-loss", and only 3 come in 30 steps; '
            "reduce its patience, or provide more readings",
        ),
        (
            FLIPS + RULE + 'reading = "flip-rate"\nabove = 1\nlayers = "lm_hed"\n',
            'layers = "lm_hed"',
            f'intervention[0].layers: no layer matches "lm_hed"; did you mean "lm_head"? the layers are: {LAYERS}',
        ),
        (
            FLIPS + 'layers = "blocks.*"\n' + RULE + 'reading = "flip-rate"\nabove = 1\nlayers = "lm_head"\n',
            'layers = "lm_head"',
            'intervention[0].layers: no layer that matches "lm_head" is observed by flips (layers = "blocks.*")',
        ),
        (
            RULE + 'reading = "loss"\nabove = 1\nlayers = "lm_head"\n',
            'layers = "lm_head"',
            'intervention[0].layers: rule reads "loss", which is of the whole model; leave layers out, got "lm_head"',
        ),
        (
            RULE + 'reading = "loss"\nabove = 1\nbelow = 2\n',
            "[[intervention]]",
            "intervention[0]: every number is above 1 or below 2; two limits mean outside of them: above the upper, "
            "below the lower",
        ),
        (
            FLIPS + SHIFT + 'chain = { e4m3 = "e3m4" }\n' + SHIFT + 'chain = { e4m3 = "e5m2" }\n',
            "[[intervention]]",
            "intervention[1]: contradicts intervention[0], emergency-shift: on the same condition it moves a layer from "
            "e4m3 to e5m2, and that one to e3m4, which would always come first",
        ),
        (
            FLIPS + SHIFT + 'chain = { e4m3 = "e3m4" }\n' + SHIFT + 'patience = 5\nchain = { e3m4 = "e4m3" }\n',
            "[[intervention]]",
            "intervention[1]: contradicts intervention[0], emergency-shift: together their chains have a cycle: "
            "e3m4 -> e4m3 -> e3m4; let them end",
        ),
        (
            FLIPS + WIDEN + WIDEN.replace("e3m4", "e5m2"),
            "[[intervention]]",
            "intervention[1]: contradicts intervention[0], widen-stalled: on the same condition it moves a layer to "
            "e5m2, and that one to e3m4, which would always come first",
        ),
    ],
)  # fmt: skip
def test_it_is_refused_with_its_place(
    tables: str, line: str, said: str, manifest: Path, altgrad: Callable[..., Said]
) -> None:
    manifest.write_text(MANIFEST + tables)
    told = altgrad("check", manifest)
    number = max(n for n, text in enumerate(manifest.read_text().splitlines(), start=1) if text == line)
    assert (told.code, told.out, told.err) == (2, "", f"altgrad: {manifest}:{number}: {said}\n")


def test_a_warm_up_that_outlasts_the_run_is_refused(manifest: Path, altgrad: Callable[..., Said]) -> None:
    manifest.write_text(MANIFEST.replace('use = "adamw"', 'use = "adamw"\nschedule = { warmup = 31 }'))
    told = altgrad("check", manifest)
    said = "the learning rate would still be warming up at the end: 31 steps of warm-up, and the run has 30"
    assert (told.code, told.err) == (2, f"altgrad: {manifest}:22: optimizer.schedule.warmup: {said}\n")


def test_a_rule_and_its_opposite_are_refused(manifest: Path, altgrad: Callable[..., Said]) -> None:
    rule = RULE + 'reading = "loss"\nabove = 1\naction = "scale-learning-rate"\nfactor = '
    manifest.write_text(MANIFEST + rule + "0.5\n" + rule + "2.0\n")
    why = 'on the same condition it asks for another "scale-learning-rate", and the first of two always wins'
    told = altgrad("check", manifest)
    assert told.code == 2
    assert told.err.endswith(f"intervention[1]: contradicts intervention[0], rule: {why}\n")


@pytest.mark.parametrize(
    "tables",
    [
        FLIPS + WIDEN + "patience = 30\n",
        FLIPS + "every = 100\n",  # a monitor by itself may be meant for longer runs
        FLIPS + SHIFT + 'chain = { e4m3 = "e3m4" }\n' + SHIFT + 'above = 0.9\nchain = { e4m3 = "e5m2" }\n',
        FLIPS + WIDEN + 'layers = "*attn*"\n' + WIDEN.replace("e3m4", "e5m2") + 'layers = "*mlp*"\n',
        '[[monitor]]\nuse = "rank-drop"\nevery = 10\n[[intervention]]\nuse = "rank-alarm"\npatience = 3\n',
        RULE + 'reading = "validation-loss"\nabove = 1\npatience = 3\n',
        2 * (RULE + 'reading = "loss"\nabove = 1\naction = "scale-learning-rate"\nfactor = 0.5\n'),
    ],
)
def test_what_can_come_about_is_taken(tables: str, manifest: Path, altgrad: Callable[..., Said]) -> None:
    manifest.write_text(MANIFEST + tables)
    assert altgrad("check", manifest).err == ""


def test_a_trial_of_a_few_steps_is_taken_and_so_is_what_it_wrote_down(
    manifest: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    manifest.write_text(MANIFEST + FLIPS + "every = 10\n" + WIDEN + "patience = 3\n")
    assert altgrad("run", manifest, "--steps", "2", "--out", tmp_path / "run").code == 0
    assert altgrad("run", tmp_path / "run" / "resolved.toml", "--out", tmp_path / "again").code == 0
    assert altgrad("check", manifest, "--set", "run.steps=2").code == 2
