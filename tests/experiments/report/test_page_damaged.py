"""The page of a study with hostile names, torn records, and cells that failed or never ran."""

from __future__ import annotations

import re
from typing import Any

import pytest

from altgrad_core.experiments.report.write import write_report
from tests.experiments.report.test_page import READINGS, Page, Report, section, sound

EVIL = """<script>alert("1")</script>'"|`$x$&amp;"""


def test_a_study_of_which_nothing_ran_says_so_section_by_section(report: Report, made: Any, page: Page) -> None:
    written = report([made(optimizer=name, status="missing") for name in ("adamw", "manifold-adamw")])
    sound(page(written.page))
    assert written.sentence == "No cell of this study has ended, so there is nothing to say yet."
    assert "No pair of runs ended for manifold-adamw in e4m3, so there is no effect to show." in section(
        written.page, "effects"
    )
    assert section(written.page, "losses").endswith("No cell has recorded a step, so there is no loss to show.")
    assert section(written.page, "failures").endswith("No cell has ended, so what fails is not known.")
    assert "There is no effect (see above)" in section(written.page, "why")
    assert section(written.page, "lines").endswith("e4m3: no cell has finished, so there are no weights to show.")
    assert "No cell was trained in fp32 and bf16" in section(written.page, "controls")
    assert "2 cells: 2 missing." in section(written.page, "provenance")
    assert written.figures == ()


def test_a_single_run_is_shown_without_a_comparison(report: Report, made: Any, page: Page) -> None:
    written = report([made(readings=READINGS)])
    sound(page(written.page))
    effects = section(written.page, "effects")
    assert effects == (
        "2 Effect against the baseline Every cell was trained with adamw, so there is nothing to compare it with: "
        "give the matrix an axis with another optimizer."
    )
    assert "one seed each, so there is no band; no run in bf16 or fp32 to compare with" in section(written.page, "losses")  # fmt: skip


def test_a_study_in_wide_formats_alone_has_panels_of_its_own(report: Report, made: Any, page: Page) -> None:
    written = report([made("bf16"), made("fp32")])
    sound(page(written.page))
    assert [path.name for path in written.figures if path.name.startswith("curves")] == [
        "curves-01-bf16.svg",
        "curves-02-fp32.svg",
    ]


def test_hostile_names_stay_text(report: Report, made: Any, page: Page) -> None:
    layers = {f"blocks.0.{EVIL}": 0.5, "blocks.1.mlp": 0.6}
    cells = [
        made(
            "e4m3",
            optimizer,
            0.1,
            seed,
            2.0 + seed / 10,
            options={"note": EVIL.replace("/", "")},
            readings={"stall-ratio": layers},
        )
        for optimizer in ("adamw", "manifold-adamw")
        for seed in (1, 2, 3)
    ]
    cells += [made("e4m3", "adamw", 0.1, 4, 2.0, options={"note": "plain"}, readings={"stall-ratio": layers})]
    written = report(cells, name=EVIL)
    found = page(written.page)
    sound(found)
    assert EVIL in " ".join(found.words)
    rows = [line for line in written.markdown.read_text().splitlines() if line.startswith("|")]
    assert [row for row in rows if "<script" in row or re.search(r"(?<!\\)`", row)] == []
    width = 0
    for row, after in zip(rows, [*rows[1:], ""], strict=True):
        pipes = len(re.findall(r"(?<!\\)\|", row))
        width = pipes if after.startswith("| ---") else width
        assert pipes == width


def test_torn_and_damaged_records_are_used_as_far_as_they_go_and_said(report: Report, made: Any, write: Any) -> None:
    cells = [made(seed=seed, readings=READINGS) for seed in (1, 2)]
    directory = write(cells)
    path = directory / cells[0].name / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], '{"kind": "reading"}\n', "no record\n", lines[4][:10]]))
    written = write_report(directory)
    provenance = section(written.page, "provenance")
    assert (
        f"{cells[0].name}: records.jsonl: 2 damaged lines are left out (the first is line 5); it ends within"
        in provenance
    )


def test_values_that_are_not_finite_are_passed_over_in_figures(report: Report, made: Any, page: Page) -> None:
    readings = {"stall-ratio": {"a": float("nan"), "b": float("inf")}, "stable-rank": {"a": float("nan"), "b": 2.0}}
    written = report(
        [
            made(optimizer=name, seed=seed, loss=loss, readings=readings)
            for name in ("adamw", "manifold-adamw")
            for seed, loss in ((1, 2.0), (2, 2.5), (3, None))
        ]
    )
    sound(page(written.page))
    assert "nan" not in " ".join(page(written.page).words).lower().split()


def test_probes_that_diverged_are_in_the_section_on_failures(report: Report, made: Any) -> None:
    cells = [made(seed=1), made(rate=3.0, loss=None, role="probe")]
    written = report(cells)
    failures = section(written.page, "failures")
    assert "Diverged: 1 of 2 cells that ended, in the search for the largest stable rate." in failures
    assert f"appeared first: {cells[1].name}: step 2, backward, blocks.0.attn.qkv." in failures
    assert "e4m3 adamw 1 of 2 1 blocks.0.attn.qkv (1) 2 3" in failures
    provenance = section(written.page, "provenance")
    assert (
        "1 cell only helped to find the largest stable rate and is in no comparison; of these 1 diverged." in provenance
    )


def test_losses_that_were_too_high_are_no_empty_table(write: Any, made: Any) -> None:
    cells = [made(seed=1), made(seed=2, loss=None)]
    directory = write(cells)
    path = directory / cells[1].name / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line.replace('"NaN"', "99.0") for line in lines if '"broke"' not in line))
    failures = section(write_report(directory).page, "failures")
    assert "No run that diverged had a non-finite number: the loss was too high for too long." in failures
    assert "diverged loss too high steps rates e4m3 adamw 1 of 2 1 4 0.1" in failures
    path.write_text("".join(line for line in lines if '"broke"' not in line))
    failures = section(write_report(directory).page, "failures")
    assert "No run that diverged recorded where a non-finite number appeared first." in failures
    assert "diverged place not recorded steps rates e4m3 adamw 1 of 2 1 4 0.1" in failures


@pytest.mark.parametrize("status", ["stopped", "crashed", "unfinished"])
def test_cells_without_a_result_are_counted(report: Report, made: Any, page: Page, status: str) -> None:
    written = report([made(), made(seed=2, status=status)])
    sound(page(written.page))
    assert f"2 cells: 1 finished and 1 {status}." in section(written.page, "provenance")
