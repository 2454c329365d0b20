"""The cells of a matrix: what their identity depends on, and how a search adds some."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from altgrad_core import ManifestError
from altgrad_core.experiments.matrix.additions import additions
from altgrad_core.experiments.matrix.cell import Cell, identity_of
from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.experiments.matrix.endings import endings_in
from altgrad_core.experiments.matrix.estimate import covering, seconds_of_a_step
from altgrad_core.experiments.matrix.plan import plan_of
from altgrad_core.manifest.load import load_manifest
from altgrad_core.registry.registry import installed
from altgrad_core.results.ending import Ending
from altgrad_core.running.assembly.resolve import resolve

Make = Callable[..., Matrix]


@pytest.fixture
def matrix(tiny: Path) -> Make:
    def make(text: str, *, most: int = 1000, name: str = "study.toml") -> Matrix:
        path = tiny.with_name(name)
        path.write_text(tiny.read_text().replace('name = "tiny"\n', "") + text)
        return Matrix(load_manifest(path), installed(), most=most)

    return make


def rates(cells: list[Cell]) -> list[tuple[object, object]]:
    return [(cell.labels["run.seed"], cell.labels["optimizer.lr"]) for cell in cells]


def test_a_cell_is_named_by_its_values_and_its_identity(matrix: Make) -> None:
    (cell,) = matrix("[matrix]\n'recipe[0].weight.format' = ['e5m2']\nrun.seed = [4]\n").cells({})
    assert cell.name == f"e5m2-seed4-{cell.identity[:8]}"


def test_the_identity_is_that_of_the_resolved_manifest(matrix: Make, tiny: Path) -> None:
    (cell,) = matrix("[matrix]\nrun.seed = [3]\n").cells({})
    alone = resolve(load_manifest(tiny), installed())
    assert identity_of(alone) == cell.identity


@pytest.mark.parametrize("same", ["run.name=other", "run.device=cpu", "tracker=[{use='tensorboard'}]", "run.seed=3"])
def test_name_device_and_trackers_do_not_change_the_identity(tiny: Path, same: str) -> None:
    assert identity_of(resolve(load_manifest(tiny, [same]), installed())) == identity_of(
        resolve(load_manifest(tiny), installed())
    )


@pytest.mark.parametrize("other", ["run.seed=4", "optimizer.lr=0.2", "recipe[0].weight.format=e5m2", "model.n_layer=2"])
def test_whatever_changes_numbers_changes_the_identity(tiny: Path, other: str) -> None:
    assert identity_of(resolve(load_manifest(tiny, [other]), installed())) != identity_of(
        resolve(load_manifest(tiny), installed())
    )


def test_two_cells_that_are_one_run_are_refused(matrix: Make) -> None:
    with pytest.raises(ManifestError) as caught:
        matrix("[matrix]\nrun.seed = [1, 2]\n[[matrix.include]]\nrun.seed = [2]\n")
    assert str(caught.value).endswith(
        "two cells are one and the same run: (run.seed = 2) and (run.seed = 2); leave one out"
    )


def test_a_mistake_in_a_cell_names_the_axis_and_the_index(matrix: Make, tiny: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        matrix("[matrix]\n'recipe[0].weight.format' = ['e5m2', 'e4m4']\n")
    said = "(matrix.recipe[0].weight.format[1]): recipe[0].weight.format: no format"
    assert said in str(caught.value)


def test_all_factors_are_tried_with_the_first_seed_then_the_best_with_all(matrix: Make) -> None:
    study = matrix("[matrix]\nrun.seed = [1, 2, 3]\n[matrix.search]\nfactors = [0.1, 1, 10]\nkeep = 2\n")
    first = study.cells({})
    assert rates(first) == [(1, 0.01), (1, 0.1), (1, 1.0)]
    losses = {0.01: 3.0, 0.1: 2.5, 1.0: 2.0}
    endings = {c.name: Ending("finished", losses[float(c.labels["optimizer.lr"])]) for c in first}
    assert rates(study.cells(dict(list(endings.items())[:2]))) == rates(first)
    assert rates(study.cells(endings)) == [*rates(first), (2, 0.1), (2, 1.0), (3, 0.1), (3, 1.0)]


def test_what_a_search_adds_is_explained(matrix: Make) -> None:
    text = "[matrix]\n'recipe[0].weight.format' = ['e5m2']\nrun.seed = [1, 2, 3]\n[matrix.search]\nfactors = [0.1, 1]\n"
    study = matrix(text + "keep = 1\nbisections = 1\n")
    first = study.cells({})
    endings = {c.name: Ending("finished", float(c.labels["optimizer.lr"])) for c in first}
    told = list(additions(study, study.cells(endings), before=[cell.name for cell in first]))
    assert told == [
        "search of e5m2: 2 more cells: 2 seeds at optimizer.lr = 0.01, around the best so far",
        "search of e5m2: 1 more cell: to see whether optimizer.lr = 0.3162 still learns",
    ]
    assert not list(additions(study, first, before=[cell.name for cell in first]))


def test_finer_rates_around_the_best_are_taken_by_all_seeds(matrix: Make) -> None:
    text = "[matrix]\nrun.seed = [1, 2]\n[matrix.search]\nfactors = [0.1, 1]\nkeep = 3\nspacing = 2.0\n"
    study = matrix(text)
    endings = {cell.name: Ending("finished", 2.0) for cell in study.cells({})}
    fine = [(seed, rate) for seed in (1, 2) for rate in (0.005, 0.01, 0.02)]
    assert set(rates(study.cells(endings))) == {(1, 0.01), (1, 0.1), *fine}
    assert len(study.cells(endings)) == 7 <= study.bound()


RECENTRED = "[matrix]\nrun.seed = [1, 2]\n[matrix.search]\nfactors = [0.1, 1, 10, 100]\nkeep = 2\n"


def trained(study: Matrix, best: dict[int, float]) -> set[tuple[object, object]]:
    """Train a study to its end where a loss grows with the square of the distance from a seed's best rate."""
    endings: dict[str, Ending] = {}
    while fresh := [cell for cell in study.cells(endings) if cell.name not in endings]:
        for cell in fresh:
            away = math.log10(float(cell.labels["optimizer.lr"]) / best[int(cell.labels["run.seed"])])
            endings[cell.name] = Ending("finished", 2.0 + away**2)
    assert len(endings) <= study.bound()
    return {(seed, rate) for seed, rate in rates(study.cells(endings)) if seed == 2}


def test_where_the_best_of_all_seeds_lies_at_an_end_all_take_rates_beyond_it(matrix: Make) -> None:
    study = matrix(RECENTRED)
    assert trained(study, {1: 0.01, 2: 1.2}) == {(2, 0.01), (2, 0.1), (2, 1.0)}, "the best lies within: no more"
    assert trained(study, {1: 0.01, 2: 1e6}) == {(2, 0.01), (2, 0.1), (2, 1.0), (2, 10.0)}, "two more, and no more"
    assert trained(study, {1: 10.0, 2: 1e6}) == {(2, 1.0), (2, 10.0), (2, 100.0), (2, 1000.0)}, "beyond those tried"
    fine = matrix(RECENTRED.replace("keep = 2", "keep = 3\nspacing = 2.0"), name="fine.toml")
    assert trained(fine, {1: 1.0, 2: 0.2}) == {(2, 0.25), (2, 0.5), (2, 1.0), (2, 2.0)}


def test_no_rate_is_added_where_that_is_not_wanted(matrix: Make) -> None:
    alone = {(2, 0.01), (2, 0.1)}
    assert trained(matrix(RECENTRED + "recentre = 0\n"), {1: 0.01, 2: 1e6}) == alone
    assert len(trained(matrix(RECENTRED.replace("keep = 2", "keep = 1"), name="one.toml"), {1: 0.01, 2: 1e6})) == 1


def test_a_plain_grid_tries_all_with_all_seeds_at_once(matrix: Make) -> None:
    study = matrix("[matrix]\nrun.seed = [1, 2]\n[matrix.search]\nfactors = [1, 10]\n")
    assert rates(study.cells({})) == [(1, 0.1), (1, 1.0), (2, 0.1), (2, 1.0)]


@pytest.mark.parametrize("lost", [Ending("diverged"), Ending("finished", 4.0, entropy=4.0)])
def test_probes_follow_what_diverged_or_learned_nothing(matrix: Make, lost: Ending) -> None:
    study = matrix("[matrix]\nrun.seed = [1]\n[matrix.search]\nfactors = [1, 10]\nbisections = 2\n")
    endings: dict[str, Ending] = {}
    while fresh := [cell for cell in study.cells(endings) if cell.name not in endings]:
        for cell in fresh:
            fine = float(cell.labels["optimizer.lr"]) <= 0.5
            endings[cell.name] = Ending("finished", 2.0, entropy=4.0) if fine else lost
    found = study.cells(endings)
    assert [(c.labels["optimizer.lr"], c.role) for c in found] == [
        (0.1, "cell"),
        (1.0, "cell"),
        (0.3162, "probe"),
        (0.5623, "probe"),
    ]


def test_a_search_needs_a_number(matrix: Make) -> None:
    with pytest.raises(ManifestError) as caught:
        matrix("[matrix]\nrun.seed = [1]\n[matrix.search]\nkey = 'optimizer.group[0].lr'\n").cells({})
    assert '"optimizer.group[0].lr" is null in cell seed1-' in str(caught.value)


@pytest.mark.parametrize("key", ["optimizer.eps", "lr", "optimizer", "run.lr"])
def test_a_search_is_one_over_learning_rates(matrix: Make, key: str) -> None:
    with pytest.raises(ManifestError) as caught:
        matrix(f"[matrix]\nrun.seed = [1]\n[matrix.search]\nkey = '{key}'\n").cells({})
    assert f'matrix.search.key: "{key}" is not a learning rate' in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "run.seed = [1]\noptimizer.lr = [1.0]\n[matrix.search]\nkeep = 1\n",
            'matrix.search.key: "optimizer.lr" is an axis of the matrix too; leave out one of the two',
        ),
        ("run.seed = [1]\n[matrix.search]\nfactors = [1.0, 1.0]\n", "matrix.search: factors has one twice"),
        (
            "run.seed = [1]\n[matrix.search]\nspacing = 2.0\n",
            "matrix.search: spacing is that of the rates which `keep` asks for; set keep too, such as keep = 3",
        ),
        (
            "baseline = 'sgd'\nrun.seed = [1]\n",
            'matrix.baseline: no cell has the optimizer "sgd"; there is manifold-adamw',
        ),
        ("run.seed = [1]\n[[matrix.exclude]]\nrun.seed = 1\n", "matrix.exclude: every cell is excluded; leave one"),
    ],
)
def test_a_matrix_that_makes_no_sense_is_refused(matrix: Make, text: str, said: str) -> None:
    with pytest.raises(ManifestError) as caught:
        matrix("[matrix]\n" + text).cells({})
    assert str(caught.value).endswith(said)


def test_a_mistake_of_a_searched_rate_is_placed_at_the_search(matrix: Make, tiny: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        matrix("[matrix]\noptimizer = [{ lr = 1e300 }]\n[matrix.search]\nfactors = [1e9, 1]\n").cells({})
    line = len((tiny.parent / "study.toml").read_text().partition("[matrix.search]")[0].splitlines()) + 1
    assert f"study.toml:{line} (matrix.search): optimizer.lr: expected a finite number, got Infinity" in str(
        caught.value
    )


def test_a_mistake_of_a_table_names_the_axis_that_sets_a_key_of_it(matrix: Make) -> None:
    with pytest.raises(ManifestError) as caught:
        matrix("[matrix]\nmodel.n_head = [2, 3]\n")
    assert "(matrix.model.n_head[1]): model: n_embd 16 is not divisible by n_head 3" in str(caught.value)


def test_more_cells_than_allowed_count_what_a_search_may_add(matrix: Make) -> None:
    text = "[matrix]\nrun.seed = [1, 2, 3]\n[matrix.search]\nfactors = [1, 2]\nkeep = 1\nbisections = 3\n"
    assert matrix(text, most=11).bound() == 2 + (3 + 4) + 2
    with pytest.raises(ManifestError, match=r"matrix: makes up to 11 cells, more than the 10 allowed"):
        matrix(text, most=10)


def test_what_is_told_of_cells_is_plain_data(matrix: Make) -> None:
    study = matrix("[matrix]\nrun.seed = [1]\nbaseline = 'manifold-adamw'\n")
    told = json.loads(json.dumps(plan_of(study, study.cells({}))))
    assert (told["name"], told["baseline"]) == ("study", "manifold-adamw")
    assert told["cells"][0]["point"] == {"run.seed": 1}
    assert told["cells"][0]["labels"] == {
        "format": "e4m3", "optimizer": "manifold-adamw", "rate": 0.1, "seed": 1, "variant": "",
    }  # fmt: skip
    assert told["formats"] == {"e4m3": 8, "e5m2": 8}
    assert told["optimizers"]["manifold-adamw"]["beta1"] == 0.9


def test_chosen_cells_have_every_value_of_every_axis_but_those_left_out(matrix: Make) -> None:
    text = "[matrix]\n'recipe[0].weight.format' = ['e5m2', 'e3m4']\n'optimizer.lr' = [0.1, 0.2]\nrun.seed = [1, 2]\n"
    chosen = covering(matrix(text).cells({}), apart_from={"run.seed"})
    assert [list(cell.labels.values()) for cell in chosen] == [["e5m2", 0.1, 1], ["e5m2", 0.2, 1], ["e3m4", 0.1, 1]]


def test_the_time_of_a_step_is_without_what_is_compiled_in_the_first_ones() -> None:
    assert seconds_of_a_step([0.0, 30.0, 55.0, 55.25, 55.75]) == 0.25
    assert seconds_of_a_step([3.0]) == 0.0


def test_a_damaged_summary_is_no_ending(matrix: Make, tmp_path: Path) -> None:
    study = matrix("[matrix]\nrun.seed = [1]\n")
    (cell,) = study.cells({})
    (tmp_path / "out" / cell.name).mkdir(parents=True)
    summary = tmp_path / "out" / cell.name / "summary.json"
    summary.write_text('{"status": "fini')
    assert endings_in(study, tmp_path / "out") == {}
    summary.write_text('{"status": "finished", "validation_loss": 2.5}')
    assert endings_in(study, tmp_path / "out") == {cell.name: Ending("finished", 2.5)}
