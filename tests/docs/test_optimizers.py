"""docs/optimizers.md is true: its script and its manifest run, its tables name every option and every baseline."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altgrad_baselines
from altgrad_grid import GridSpec
from altgrad_manifold import ManifoldAdamW

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "optimizers.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, flags=re.DOTALL)


def named_in_the_table_after(words: str) -> set[str]:
    table = DOCUMENT.split(words, 1)[1].split("\n\n")[1]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_its_script_runs() -> None:
    (block,) = blocks("python")
    exec(compile(block, "optimizers.md", "exec", dont_inherit=True), {})


def test_its_groups_train(altgrad: Callable[..., Any], tiny: Path) -> None:
    (block,) = (block for block in blocks("toml") if "[optimizer]" in block)
    before, after = tiny.read_text().split("[optimizer]")
    tiny.write_text(before + block + "\n[[recipe]]" + after.split("[[recipe]]", 1)[1])
    said = altgrad("run", tiny, "--out", tiny.parent / "run", "--steps", "3")
    assert said.code == 0, said.err


def test_its_tables_name_every_option() -> None:
    assert named_in_the_table_after("`manifold-adamw`:") == set(ManifoldAdamW.model_fields)
    assert named_in_the_table_after("`grid` has momentum") == set(GridSpec.model_fields)


def test_its_table_names_every_baseline() -> None:
    offered = {spec.name for spec in altgrad_baselines.altgrad_optimizers()}
    assert named_in_the_table_after("## What to compare with") == offered


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", DOCUMENT):
        assert (ROOT / "docs" / target).exists(), target
