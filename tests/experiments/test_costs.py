"""What formats and variants cost one optimizer, on losses that are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.evidence.heading import MOST_WORDS, heading
from altgrad_core.experiments.report.write import write_report
from altgrad_core.experiments.study.study import Study

LEVELS = (2.0, 2.1, 2.2, 2.3)


def cells(
    made: Any, added: dict[tuple[str, str], tuple[float, ...]], *, seeds: int = 4, optimizer: str = "adamw"
) -> list[Any]:
    """One cell for each seed; what a format and variant adds to the level of the seed."""
    return [
        made(
            format=format,
            set={"data.batch_size": int(variant)} if variant else {},
            optimizer=optimizer,
            seed=seed,
            loss=LEVELS[seed - 1] + more[seed - 1],
        )
        for (format, variant), more in added.items()
        for seed in range(1, seeds + 1)
    ]


def place(arm: Arm) -> tuple[str, str]:
    return arm.format, arm.variant.partition("=")[2]


COARSE = {
    ("fp32", ""): (0.0,) * 4,
    ("e4m3", ""): (0.001, -0.001, 0.0005, -0.0005),
    ("e2m1", ""): (0.05, 0.051, 0.052, 0.05),
}


@pytest.mark.parametrize(
    ("seeds", "margin", "verdicts", "told"),
    [
        (4, None, ["unclear", "costs"], "e2m1 costs more than fp32 (4 seeds)"),
        (4, 0.01, ["equivalent within 0.01", "costs"], "e2m1 costs more than fp32 (4 seeds)"),
        (2, 0.01, ["not judged (2 seeds)"] * 2, "Too few seeds to judge costs (2 seeds)"),
    ],
)
def test_the_cost_of_a_format_is_what_it_adds_to_the_loss_of_each_seed(
    write: Callable[..., Path], made: Any, seeds: int, margin: float | None, verdicts: list[str], told: str
) -> None:
    folder = write(cells(made, COARSE, seeds=seeds), margin=margin)
    analysis = Analysis(Study.read(folder))
    assert [cost.verdict for cost in analysis.costs] == verdicts
    assert [cost.reference.format for cost in analysis.costs] == ["fp32", "fp32"]
    assert analysis.costs[1].differences == pytest.approx(COARSE["e2m1", ""][:seeds])
    assert heading(analysis) == told
    written = write_report(folder)
    column = written.table.columns.index("verdict")
    assert [row[column] for row in written.table.rows] == ["reference", *verdicts]
    page = (folder / "report.md").read_text()
    assert "figures/costs-01-forest.svg" in page and (folder / "figures" / "costs-01-forest.svg").exists()
    assert (folder / "tables" / "costs.csv").read_text().count("\n") == 3


@pytest.mark.parametrize("added", [0.0, 0.1])
def test_the_heading_is_short_whatever_formats_are_called(study: Any, made: Any, added: float) -> None:
    rule = {"layers": "*.norm", "weight": {"format": "fp32"}}
    mixed = [
        made(format=f, more_rules=[rule], seed=s, loss=LEVELS[s - 1]) for f in ("e5m2", "e3m4") for s in (1, 2, 3, 4)
    ]
    mixed += [made(format="e2m5", seed=s, loss=LEVELS[s - 1] + added * s) for s in (1, 2, 3, 4)]
    analysis = Analysis(study(mixed))
    assert analysis.costs and len(heading(analysis).split()) <= MOST_WORDS


def test_a_variant_is_compared_with_its_own_reference_and_references_with_the_first(study: Any, made: Any) -> None:
    places = [(format, variant) for format in ("fp32", "e4m3") for variant in ("8", "16")]
    costs = Analysis(study(cells(made, dict.fromkeys(places, (0.0,) * 4)))).costs
    assert [(*place(c.arm), *place(c.reference)) for c in costs] == [
        ("fp32", "16", "fp32", "8"), ("e4m3", "8", "fp32", "8"), ("e4m3", "16", "fp32", "16"),
    ]  # fmt: skip


def test_a_format_that_costs_in_one_of_its_variants_is_not_named_alone(study: Any, made: Any) -> None:
    added = {("fp32", "8"): (0.0,) * 4, ("e2m1", "8"): COARSE["e2m1", ""], ("e2m1", "16"): (0.0, 0.01, -0.01, 0.0)}
    assert heading(Analysis(study(cells(made, added)))) == "1 of 2 arms costs more than fp32 (4 seeds)"


def test_where_nothing_is_unquantized_the_first_arm_is_the_reference(study: Any, made: Any) -> None:
    (cost,) = Analysis(study(cells(made, {("e4m3", ""): (0.0,) * 4, ("e5m2", ""): (0.1, 0.1, 0.2, 0.1)}))).costs
    assert (cost.arm.format, cost.reference.format, cost.verdict) == ("e5m2", "e4m3", "costs")


def test_costs_stand_beside_effects_where_there_are_two_optimizers(write: Callable[..., Path], made: Any) -> None:
    both = [cell for name in ("adamw", "manifold-adamw") for cell in cells(made, COARSE, optimizer=name)]
    folder = write(both)
    costs = Analysis(Study.read(folder)).costs
    assert [(c.arm.optimizer, c.reference.optimizer) for c in costs] == [
        (n, n) for n in ("adamw", "manifold-adamw") for _ in (1, 2)
    ]
    assert "Cost: the validation loss" in write_report(folder).markdown.read_text()
