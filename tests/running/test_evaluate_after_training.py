"""`[[evaluate]]`: trained weights are evaluated under other recipes when a run has ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Said

E2M1 = '[[recipe]]\nlayers = "blocks.*"\nweight = "e2m1"\n'
W8A8 = '[[recipe]]\nlayers = "*"\nweight = "e4m3"\nactivation = { format = "e4m3", scaling = "delayed" }\n'
EVALUATE = "".join(
    f'\n[[evaluate]]\nname = "{name}"\n{recipe.replace("[[recipe]]", "[[evaluate.recipe]]")}'
    for name, recipe in (("e2m1", E2M1), ("w8a8", W8A8))
)
Altgrad = Callable[..., "Said"]


@pytest.fixture
def manifest(tiny: Path) -> Path:
    tiny.write_text(tiny.read_text() + EVALUATE)
    return tiny


def test_the_losses_are_those_of_altgrad_evaluate_and_are_the_same_after_a_kill(
    manifest: Path, tmp_path: Path, altgrad: Altgrad
) -> None:
    run, recipes = tmp_path / "run", [tmp_path / "e2m1.toml", tmp_path / "w8a8.toml"]
    told = altgrad("run", manifest, "--out", run)
    assert told.code == 0 and "evaluated under e2m1" in told.out
    for path, text in zip(recipes, (E2M1, W8A8), strict=True):
        path.write_text(text)
    again = altgrad("evaluate", run, *(word for path in recipes for word in ("--recipe", path)), "--json")
    expected = {one["name"]: (one["loss"], one["bits"]) for one in json.loads(again.out)["recipes"]}
    lines = (run / "records.jsonl").read_bytes()
    records = [record for line in lines.splitlines() if (record := json.loads(line))["kind"] == "recipe-evaluation"]
    assert {record["recipe"]: (record["loss"], record["bits"]) for record in records} == expected
    assert len(expected) == 3 and len({loss for loss, _ in expected.values()}) == 3
    summary = json.loads((run / "summary.json").read_text())
    assert summary["evaluations"] == {name: loss for name, (loss, _) in expected.items()}
    (run / "summary.json").unlink()  # as where it was killed before the end
    assert altgrad("resume", run).code == 0
    assert (run / "records.jsonl").read_bytes() == lines
    assert json.loads((run / "summary.json").read_text())["evaluations"] == summary["evaluations"]


def test_it_changes_nothing_of_the_training(manifest: Path, tmp_path: Path, altgrad: Altgrad) -> None:
    for name, text in (("with", manifest.read_text()), ("without", manifest.read_text().replace(EVALUATE, ""))):
        manifest.write_text(text)
        assert altgrad("run", manifest, "--out", tmp_path / name).code == 0
    ours, theirs = ((tmp_path / name / "records.jsonl").read_text() for name in ("with", "without"))
    assert [line for line in ours.splitlines() if '"kind":"recipe-evaluation"' not in line] == theirs.splitlines()
    assert "[[evaluate" not in (tmp_path / "without" / "resolved.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("blocks.*", "nosuch", '[0].recipe[0].layers: no layer matches "nosuch"'),
        ('weight = "e2m1"', 'weight = "e2mx"', '[0].recipe[0].weight.format: no format "e2mx"; did you mean "e2m5"?'),
        ('"w8a8"', '"e2m1"', '[1].name: "e2m1" is the name of evaluate[0] too; each [[evaluate]] needs one of its own'),
        ('"w8a8"', '"unquantized"', "[1].name: is the name of the weights without any rounding"),
        ("weight", "gradient", "[0]: its recipe rounds nothing in a forward pass; name a role such as weight"),
    ],
)
def test_a_mistake_is_found_before_training(
    manifest: Path, tmp_path: Path, altgrad: Altgrad, old: str, new: str, said: str
) -> None:
    plain, _, added = manifest.read_text().partition("\n[[evaluate]]")
    manifest.write_text(f"{plain}\n[[evaluate]]{added.replace(old, new, 1)}")
    told = altgrad("run", manifest, "--out", tmp_path / "run")
    assert told.code == 2 and f"evaluate{said}" in told.err, told.err
    assert not (tmp_path / "run").exists()
