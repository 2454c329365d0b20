"""Studies with damaged files: whatever is in them, the rest is told and nothing raises."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from altgrad_core.errors import AltgradError
from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.answer import answer
from altgrad_core.experiments.evidence.controls import contrast_sentences
from altgrad_core.experiments.evidence.effects import PERPLEXITY
from altgrad_core.experiments.evidence.recipes import recipe_sentences
from altgrad_core.experiments.evidence.tables import as_csv, tables
from altgrad_core.experiments.study.study import Study

STRANGE: list[Any] = ["", {}, [], 0, -1, 1.5, True, "x", [1], {"a": 1}, "NaN", 1e308, [{}], {"use": 3}, 10**30, [[1]]]


def mutated(value: Any, chance: random.Random) -> Any:
    """Plain data with one thing in it gone, or replaced by something strange."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.15:
        return chance.choice(STRANGE)
    if isinstance(value, dict):
        key = chance.choice(list(value))
        gone = {other: inner for other, inner in value.items() if other != key}
        return gone if chance.random() < 0.1 else {**value, key: mutated(value[key], chance)}
    index = chance.randrange(len(value))
    return [*value[:index], mutated(value[index], chance), *value[index + 1 :]]


def damage(path: Path, chance: random.Random) -> None:
    """Change the content of a file, or some bytes of it."""
    if chance.random() < 0.75 and path.suffix == ".json":
        path.write_text(json.dumps(mutated(json.loads(path.read_text()), chance)))
    elif chance.random() < 0.75 and path.suffix == ".toml":
        data = mutated(tomllib.loads(path.read_text()), chance)
        path.write_text(tomlkit.dumps(data) if isinstance(data, dict) else str(data))
    elif chance.random() < 0.75 and path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        index = chance.randrange(len(lines))
        lines[index] = json.dumps(mutated(json.loads(lines[index]), chance))
        path.write_text("\n".join(lines) + "\n")
    else:
        raw = bytearray(path.read_bytes())
        raw[chance.randrange(len(raw))] = chance.randrange(256)
        path.write_bytes(bytes(raw[: chance.randrange(len(raw))]))


@pytest.mark.parametrize("number", range(40))
def test_a_damaged_study_is_told_of_as_far_as_it_can_be_read(
    write: Callable[..., Path], made: Any, number: int
) -> None:
    chance = random.Random(number)
    cells = [made(f, o, 0.1, s, 2.0 + s) for f in ("e4m3", "e5m2") for o in ("adamw", "manifold-adamw") for s in (1, 2)]
    directory = write([*cells, made(rate=0.2, loss=None)])
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    for path in chance.sample(paths, 3):
        damage(path, chance)
    try:
        study = Study.read(directory)
    except AltgradError:
        return
    analysis = Analysis(study)
    assert answer(analysis).sentence.endswith(".")
    assert answer(analysis, PERPLEXITY).sentence.endswith(".")
    assert [table.name for table in tables(analysis) if as_csv(table)] == [table.name for table in tables(analysis)]
    assert all(
        told.endswith(".")
        for told in (*contrast_sentences(analysis.contrasts, "nats per token"), *recipe_sentences(analysis))
    )


def test_what_is_wrong_with_the_list_of_cells_is_the_first_caution(write: Callable[..., Path], made: Any) -> None:
    directory = write([made(), made(seed=2)], baseline="sgd")
    assert answer(Analysis(Study.read(directory))).cautions[0] == 'The baseline "sgd" is none of the optimizers: adamw.'
    plan = json.loads((directory / "cells.json").read_text())
    (directory / "cells.json").write_text(json.dumps({**plan, "cells": [plan["cells"][0], 7]}))
    assert answer(Analysis(Study.read(directory))).cautions[:2] == (
        f"{directory}/cells.json: has entries that are not cells; they are left out.",
        f"{directory}: has 1 more folder with runs that is not in cells.json and is left out: {made(seed=2).name}.",
    )
    (directory / "cells.json").write_text("{")
    assert answer(Analysis(Study.read(directory))).cautions[0] == (
        f"{directory}/cells.json: cannot be read; the cells are those whose folders are there."
    )
