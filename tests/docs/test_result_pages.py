"""What the pages of the results say is what their committed cells give; by hand, what their scripts compute."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from altgrad_core.experiments.matrix.registration import hash_of
from altgrad_core.manifest.load import load_manifest
from tests.docs.results import RESULTS, script

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMBER = re.compile(r"(?<!\d)\d\.\d{3,}(?!\d)")  # no number of an article


@pytest.fixture(params=("no-master", "claims", "growth", "relative"))
def folder(request: pytest.FixtureRequest) -> Path:
    """The folder of a page."""
    return RESULTS.parent / request.param


@pytest.fixture(scope="module")
def arms() -> ModuleType:
    """What the scripts share."""
    return script(RESULTS.parent / "arms.py")


@pytest.fixture(scope="module")
def claims() -> ModuleType:
    return script(RESULTS.parent / "claims")


def manifests(text: str) -> list[Path]:
    """The manifests that a page links to, in order."""
    return [EXAMPLES / name for name in dict.fromkeys(re.findall(r"examples/([\w-]+\.toml)\)", text))]


def test_tables_and_numbers_of_the_text_are_those_of_the_script(folder: Path, arms: ModuleType) -> None:
    text, tables = (folder / "README.md").read_text(), script(folder).TABLES_OF_THE_PAGE
    assert all(arms.mark_of(name) in text for name in tables)
    assert arms.embedded(text, tables) == text
    assert arms.embedded(re.sub(r"(?m)^(\|.*)\d\.\d{4} \(", r"\g<1>9.9999 (", text), tables) == text
    computed = {number for compute in tables.values() for number in NUMBER.findall(compute())}
    settings = {number for manifest in manifests(text) for number in NUMBER.findall(manifest.read_text())}
    assert set(NUMBER.findall(text)) - computed - settings == set()


def test_the_committed_contrasts_are_those_of_the_cells(folder: Path, arms: ModuleType, tmp_path: Path) -> None:
    arms.write(tmp_path / "contrasts.csv", script(folder).contrasts())
    assert (tmp_path / "contrasts.csv").read_text() == (folder / "tables" / "contrasts.csv").read_text()


def test_every_study_has_its_manifest_its_cells_and_its_registered_hash(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    told = re.findall(r"(\d+) runs", text)
    trained = [manifest for manifest in manifests(text) if (folder / "tables" / f"{manifest.stem}.csv").exists()]
    assert len(told) == len(trained) > 0
    for manifest, count in zip(trained, told, strict=True):
        rows = (folder / "tables" / f"{manifest.stem}.csv").read_text().splitlines()[1:]
        assert int(count) == len(rows), manifest
        source = load_manifest(manifest)
        if "confirms" in source.data["matrix"]:
            assert hash_of(SimpleNamespace(source=source)) in text, manifest  # type: ignore[arg-type]


def test_the_law_of_layouts_is_recovered(claims: ModuleType) -> None:
    added = {(e, m): 0.3 / ((e + 0.5) ** 2 * (m + 0.5) ** 0.5) for e in (1, 2, 3, 4) for m in (0, 1, 2)}
    assert claims.exponents(added) == pytest.approx((2.0, 0.5))
    assert claims.exponents({**added, (5, 0): -0.1, (5, 1): math.inf}) == pytest.approx((2.0, 0.5))


@pytest.mark.parametrize(
    ("loss", "status", "is_lost"),
    [(0.1, "finished", False), (0.21, "finished", True), ("nan", "finished", True), (0.1, "diverged", True)],
)
def test_a_run_has_diverged_as_registered(claims: ModuleType, loss: object, status: str, is_lost: bool) -> None:
    row = {"status": status, "validation_loss": str(loss), "first": "1.0", "lowest": "0.1"}
    assert claims.has_diverged(row) == is_lost
    assert claims.has_diverged({**row, "first": "0.05"})


def test_a_cost_is_judged_by_its_whole_interval(claims: ModuleType) -> None:
    def cost(low: float, high: float) -> SimpleNamespace:
        return SimpleNamespace(low=low, high=high)

    above, below = claims.THRESHOLD + 1, claims.THRESHOLD - 1
    assert claims.judged_by_threshold(above, cost(-0.01, 0.004)) == "as predicted"
    assert claims.judged_by_threshold(below, cost(-0.01, 0.004)) == "not as predicted"
    assert claims.judged_by_threshold(below, cost(0.006, 0.1)) == "as predicted"
    assert claims.judged_by_threshold(above, cost(0.0, 0.1)) == "cannot be told"


def test_where_the_cost_passes_the_margin_is_interpolated(claims: ModuleType) -> None:
    assert claims.ratio_at_margin({20.0: 0.0, 10.0: 0.01, 5.0: 0.02}) == pytest.approx(15.0)
    assert claims.ratio_at_margin({20.0: 0.0, 10.0: 0.001}) is None


def test_a_variant_is_the_name_of_a_cell_without_seed_rate_steps_and_hash(arms: ModuleType) -> None:
    for name in ("seed1-lr0.001-wide-qk-norm-0123abcd", "wide-qk-norm-seed1-steps500-lr0.2532-0123abcd"):
        assert arms.variant_of({"cell": name}) == "wide-qk-norm"
