"""A search over random settings: the same draws for every combination, all with the first seed, the best with all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altgrad_core import ManifestError
from altgrad_core.experiments.matrix.cell import Cell
from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.experiments.matrix.plan import plan_of
from altgrad_core.experiments.matrix.search import drawn, part_of, the_best
from altgrad_core.manifest.load import load_manifest
from altgrad_core.manifest.search_schema import RangeTable
from altgrad_core.registry.registry import installed
from altgrad_core.results.ending import Ending

Make = Callable[[str], Matrix]
SEARCH = """
[matrix]
"optimizer" = [{ use = "adamw", lr = 0.002 }, { use = "manifold-adamw", lr = 0.1 }]
"run.seed" = [1, 2, 3]
[matrix.search]
samples = 5
keep = 2
[matrix.search.ranges]
"optimizer.lr" = { times = [0.1, 10.0] }
"optimizer.beta1" = { linear = [0.0, 0.95] }
"optimizer.schedule.warmup" = { whole = [0, 3] }
"""


@pytest.fixture
def matrix(tiny: Path) -> Make:
    def make(text: str) -> Matrix:
        path = tiny.with_name("study.toml")
        path.write_text(tiny.read_text().replace('name = "tiny"\n', "") + text)
        return Matrix(load_manifest(path), installed(), most=1000)

    return make


def settings(cells: list[Cell], use: str) -> list[tuple[float, float, int]]:
    own = [cell.manifest["optimizer"] for cell in cells if cell.manifest["optimizer"]["use"] == use]
    return [(table["lr"], table["beta1"], table["schedule"]["warmup"]) for table in own]


def test_every_combination_draws_the_same_settings_and_begins_with_its_own(matrix: Make) -> None:
    cells = matrix(SEARCH).cells({})
    adamw, manifold = settings(cells, "adamw"), settings(cells, "manifold-adamw")
    assert len(adamw) == len(manifold) == 5 and {cell.labels["run.seed"] for cell in cells} == {1}
    assert [rest for _, *rest in adamw] == [rest for _, *rest in manifold]
    assert [b / a for (a, *_), (b, *_) in zip(adamw, manifold, strict=True)] == pytest.approx([50.0] * 5, rel=1e-3)
    assert adamw[[rate for rate, *_ in adamw].index(0.002)][1] == 0.9  # the default of the manifest itself


def test_the_best_settings_are_tried_with_all_seeds(matrix: Make) -> None:
    study = matrix(SEARCH)
    first = study.cells({})
    endings = {cell.name: Ending("finished", loss) for cell, loss in zip(first, (5, 1, 4, 2, 3) * 2, strict=True)}
    cells = study.cells(endings)
    assert len(cells) == len(first) + 2 * 2 * 2 == study.bound()
    chosen = {
        settings([cell], "adamw")[0] for cell in cells if cell.labels["run.seed"] == 3 and "manifold" not in cell.name
    }
    assert chosen == {settings(first, "adamw")[1], settings(first, "adamw")[3]}


def test_a_setting_is_told_apart_by_its_rate_alone(matrix: Make) -> None:
    study = matrix(SEARCH)
    labels = [cell["labels"] for cell in plan_of(study, study.cells({}))["cells"]]
    assert {(label["optimizer"], label["variant"]) for label in labels} == {("adamw", ""), ("manifold-adamw", "")}
    assert len({(label["optimizer"], label["rate"]) for label in labels}) == len(labels)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("samples = 5", "", "samples and ranges belong together"),
        ("samples = 5", "samples = 5\nspacing = 1.3", "a random search (samples) has no spacing"),
        ('"optimizer.lr" = { times = [0.1, 10.0] }', "", 'ranges lacks the learning rate, "optimizer.lr"'),
        (
            "linear = [0.0, 0.95]",
            "linear = [0.9, 0.1]",
            "linear goes from 0.9 to 0.1; the first must be the smaller one",
        ),
        ("linear = [0.0, 0.95]", "linear = [0.0, 0.9], log = [0.1, 0.2]", "exactly one of times, log, linear, whole"),
        ("beta1", "beta7", "beta7"),
        ("whole = [0, 3]", "times = [0.5, 2.0]", "a search needs a number above 0"),
    ],
)
def test_a_mistake_is_told(matrix: Make, old: str, new: str, said: str) -> None:
    with pytest.raises(ManifestError) as caught:
        matrix(SEARCH.replace(old, new)).cells({})
    assert said in str(caught.value)


def test_an_axis_that_has_a_range_is_refused(matrix: Make) -> None:
    with pytest.raises(ManifestError, match=r'"optimizer\.beta1" is an axis of the matrix too'):
        matrix(SEARCH.replace('"run.seed"', '"optimizer.beta1" = [0.5]\n"run.seed"')).cells({})


@given(st.floats(0, 1, exclude_max=True), st.integers(-5, 5), st.integers(1, 9))
def test_values_are_within_their_range(part: float, low: int, width: int) -> None:
    assert low <= drawn(RangeTable(whole=(low, low + width)), part, 0) <= low + width
    assert low <= drawn(RangeTable(linear=(low, low + width)), part, 0) <= low + width
    assert 0.0999 <= drawn(RangeTable(log=(0.1, 10.0)), part, 0) <= 10.01
    assert 0.0999 <= drawn(RangeTable(times=(0.05, 5.0)), part, 2.0) <= 10.01


def test_draws_fill_the_range_and_differ_by_key_and_seed() -> None:
    parts = [part_of(0, "optimizer.lr", sample) for sample in range(400)]
    assert [sum(low <= part < low + 0.25 for part in parts) for low in (0.0, 0.25, 0.5, 0.75)] == pytest.approx(
        [100] * 4, abs=30
    )
    assert len({part_of(seed, key, 1) for seed in (0, 1) for key in ("a", "b")}) == 4


def test_of_equal_losses_the_smaller_rates_are_kept() -> None:
    assert the_best({3.0: 1.0, 1.0: 1.0, 2.0: 0.5}, keep=2) == [1.0, 2.0]
