"""The page: the answer first, every section there, nothing from elsewhere, and no name that becomes markup."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.report.blocks import Text
from altgrad_core.experiments.report.sections.why import causes_blocks
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.report.write import Written, write_report
from altgrad_core.experiments.study.study import Study

SECTIONS = ["answer", "effects", "losses", "layers", "failures", "why", "lines", "controls", "provenance"]
Report = Callable[..., Written]
Cells = Callable[..., list[Any]]
Page = Callable[[Path], Any]

READINGS = {"stall-ratio": 0.5, "code-use": 0.7, "displacement-mean-abs": 1.0, "stable-rank": 3.0}


def sound(found: Any) -> None:
    """What holds for every page, whatever it was made of."""
    assert (found.unbalanced, found.open) == ([], [])
    assert "script" not in found.tags
    assert len(found.ids) == len(set(found.ids))
    assert [name for name in SECTIONS if name in found.ids] == SECTIONS
    assert [link for link in found.links if not link.startswith(("#", "data:image/png", "report.md", "figures/", "tables/"))] == []  # fmt: skip
    anchors = {link[1:] for link in found.links if link.startswith("#")}
    assert anchors <= set(found.ids)


def section(page: Path, name: str) -> str:
    """The words of one section."""
    whole = page.read_text()
    part = re.search(rf'<section id="{name}">(.*?)</section>', whole, flags=re.DOTALL)
    assert part is not None
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", part[1])).split())


def whole_study(made: Any) -> list[Any]:
    """Everything that a report can show, small."""
    cells = []
    for form in ("e4m3", "e5m2", "bf16", "fp32"):
        for optimizer in ("adamw", "manifold-adamw") if form.startswith("e") else ("adamw",):
            for rate in (0.01, 0.1, 1.0):
                for seed in (1, 2, 3):
                    loss = 2.0 + 0.01 * seed + 0.1 * abs(rate - 0.1) - 0.02 * (optimizer != "adamw") * seed
                    lost = rate == 1.0 and optimizer == "adamw" and form == "e5m2"
                    cells.append(made(form, optimizer, rate, seed, None if lost else loss, readings=READINGS))
    return cells


@pytest.fixture(scope="module")
def kept() -> dict[str, Written]:
    """What several tests look at is made once."""
    return {}


@pytest.fixture
def whole(kept: dict[str, Written], report: Report, made: Any) -> Written:
    """The report of a study with everything in it."""
    if "whole" not in kept:
        kept["whole"] = report(whole_study(made))
    return kept["whole"]


def test_the_first_words_of_the_page_are_the_answer_and_the_cautions_follow(whole: Written, page: Page) -> None:
    written, found = whole, page(whole.page)
    sound(found)
    said = " ".join(found.words)
    assert said.startswith(f"{written.heading} ") and len(written.heading.split()) <= 12
    assert written.markdown.read_text().startswith(f"# {written.heading}\n")
    summary = section(written.page, "summary")
    baseline = re.search(r" e4m3 adamw 0\.1 \d\.(\d+) \u2013 \u2013 baseline \u2013 ", summary)
    other = re.search(r" e4m3 manifold-adamw 0\.1 \d\.(\d+) [+-]\d\.(\d+) ", summary)
    assert baseline and other and len({*map(len, (*baseline.groups(), *other.groups()))}) == 1  # one rule of digits
    assert "How to read it: each small dot is one pair" in summary
    first, second, *others = written.cautions
    assert f"Cautions {first} {second} {len(others)} more {' '.join(others)}" in said
    assert written.sentence in unescape(section(written.page, "answer"))


def test_a_page_needs_nothing_from_elsewhere(whole: Written) -> None:
    text = whole.page.read_text()
    bare = text.replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xlink", "")
    assert re.findall(r"https?:|//cdn|@import|<link|<script|<iframe|url\((?!#)", bare) == []
    assert "default-src 'none'" in text


def test_every_loss_figure_names_bf16_and_fp32_where_they_were_run(whole: Written) -> None:
    written = whole
    figures = [path for path in written.figures if path.name.startswith(("curves", "rates"))]
    assert len(figures) == 4
    for path in figures:
        text = path.read_text()
        assert ("bf16 (adamw)" in text, "fp32 (adamw)" in text) == (True, True)


def test_every_figure_says_how_to_read_it_and_what_it_shows(whole: Written) -> None:
    written = whole
    text = written.page.read_text()
    captions = re.findall(r'<div class="panels.*?<figcaption>(.*?)</figcaption>', text, flags=re.DOTALL)
    assert captions and all(caption.startswith("How to read it: ") for caption in captions)
    labels = re.findall(r'<svg [^>]*aria-label="([^"]*)"', text)
    assert len(labels) == len(written.figures) and all(len(label) > 20 for label in labels)


def test_variants_have_panels_of_their_own_and_are_named(report: Report, made: Any) -> None:
    cells = [
        made("e4m3", optimizer, seed=seed, loss=2.0 + seed / 10, quantizer={"rounding": rounding})
        for optimizer in ("adamw", "manifold-adamw")
        for seed in (1, 2, 3)
        for rounding in ("nearest-even", "stochastic")
    ]
    written = report(cells)
    names = [path.name for path in written.figures if path.name.startswith("curves")]
    assert names == ["curves-01-e4m3-rounding-nearest-even.svg", "curves-02-e4m3-rounding-stochastic.svg"]
    assert "Rounding, stochastic against nearest-even" in section(written.page, "controls")


def test_formats_that_are_one_grid_must_be_the_same_and_a_difference_is_a_caution(report: Report, made: Any) -> None:
    same = report([made(form, seed=seed) for form in ("e0m7", "e1m6") for seed in (1, 2)])
    assert "identical, bit for bit, in all 2 pairs" in section(same.page, "controls")


def test_a_cell_without_a_checkpoint_is_named_where_its_weights_would_be(report: Report, made: Any) -> None:
    cell = made()
    lines = section(report([cell]).page, "lines")
    assert lines == f"8 Number lines and code use e4m3: there is no checkpoint (looked at {cell.name})."


def test_weights_of_a_checkpoint_are_shown_on_their_number_line(
    write: Any, made: Any, checkpoint: Any, format_facts: Any
) -> None:
    cell = made()
    directory = write([cell])
    checkpoint(directory / cell.name, 4, {"blocks.0.attn.qkv": ([[1.0, 2.0, 2.0]], format_facts("e4m3"), 1.0)})
    written = write_report(directory)
    assert "Rungs in use at the end of training: e4m3 2 of 253 (0.9 bits" in section(written.page, "lines")
    assert "lines-01-e4m3.svg" in [path.name for path in written.figures]


def test_the_heat_map_has_a_row_for_every_layer(report: Report, made: Any) -> None:
    written = report([made(readings={"stall-ratio": {"blocks.0.mlp": 0.1, "blocks.1.mlp": 0.9}})])
    heat = next(path for path in written.figures if path.name == "heat-01-stall-ratio.svg")
    text = heat.read_text()
    assert (">blocks.0.mlp<" in text, ">blocks.1.mlp<" in text) == (True, True)
    assert "highest on average in blocks.1.mlp, 0.9." in text


def test_a_reading_that_never_changes_is_a_sentence_instead_of_a_map(report: Report, made: Any) -> None:
    written = report([made(readings={"weight-overflow-rate": 0.0})])
    told = "Share of weight elements clipped (weight-overflow-rate): 0 in every layer at every observed step."
    assert told in section(written.page, "why")
    assert [path for path in written.figures if "overflow" in path.name] == []


def causes(study: Callable[..., Study], made: Any, formats: tuple[str, ...]) -> str:
    """What is said of a study in which the effect grows with the stall ratio from format to format."""
    cells = [
        made(form, optimizer, loss=2.0 - 0.1 * place * (optimizer != "adamw"), readings={"stall-ratio": place / 10})
        for place, form in enumerate(formats)
        for optimizer in ("adamw", "manifold-adamw")
    ]
    first = causes_blocks(View(Analysis(study(cells))))[0]
    assert isinstance(first, Text)
    return first.text


def test_correlations_need_five_formats(study: Callable[..., Study], made: Any) -> None:
    told = causes(study, made, ("e2m5", "e3m4", "e4m3", "e5m2"))
    assert told == (
        "With 4 formats compared no correlation is given: runs of one format are alike, so only formats count, "
        "and 5 or more are needed."
    )


def test_an_effect_that_goes_along_with_a_reading_is_said_with_its_interval(
    study: Callable[..., Study], made: Any
) -> None:
    told = causes(study, made, ("e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0"))
    assert told.startswith(
        "The effect correlates with share of updates that change no code (share of updates that change no code: "
        "Spearman +1.00, "
    )


def test_formats_count_once_whatever_their_variants_and_grids_that_are_one_do_too(
    study: Callable[..., Study], made: Any
) -> None:
    cells = [
        made(form, optimizer, loss=2.0, readings={"stall-ratio": 0.1}, quantizer={"rounding": rounding})
        for form in ("e4m3", "e0m7", "e1m6")
        for rounding in ("nearest-even", "stochastic")
        for optimizer in ("adamw", "manifold-adamw")
    ]
    first = causes_blocks(View(Analysis(study(cells))))[0]
    assert isinstance(first, Text)
    assert first.text.startswith("With 2 formats compared no correlation is given: ")


def test_perplexity_is_the_exponential_of_the_mean_loss_wherever_an_arm_has_one(report: Report, made: Any) -> None:
    cells = [made(optimizer=name, seed=s, loss=float(s)) for name in ("adamw", "grid") for s in (1, 2, 3)]
    told = section(report([*cells, *(made("bf16", seed=s, loss=s) for s in (1, 2, 3))]).page, "answer")
    assert "For reference, perplexity (of the mean loss) with adamw: bf16 7.389." in told
    assert "7.389 0 of 3" in told


def test_captions_claim_nothing_that_one_seed_does_not_show(report: Report, made: Any) -> None:
    cells = [made(form, name) for form in ("e4m3", "e5m2") for name in ("adamw", "manifold-adamw")]
    written = report(cells)
    effects, losses = section(written.page, "summary"), section(written.page, "losses")
    assert "each dot is one pair of runs with the same seed; one pair has no interval. Right of" in effects
    assert [word for word in ("the bar", "other seeds", "is not evidence") if word in effects] == []
    assert "one seed each, so there is no band" in losses
    assert "One learning rate ended for each optimizer and format" in losses  # and nothing is drawn against it
    assert [path.name for path in written.figures if path.name.startswith("rates")] == []
    assert "How to read it: training loss at the chosen learning rate" in losses
    assert "The training loss is shown, as not every run was evaluated 4 times." in losses
    assert section(written.page, "answer").count("No ranking") == 1
    assert written.page.read_text().count("one seed is not evidence") == 1


@pytest.mark.parametrize(("seeds", "contrasts"), [((1,), 0), ((1, 2, 3), 1)])
def test_contrasts_that_have_an_interval_are_the_first_table_and_the_answer_follows(
    report: Report, made: Any, seeds: tuple[int, ...], contrasts: int
) -> None:
    arms = [(form, optimizer) for form in ("e4m3", "e5m2") for optimizer in ("adamw", "manifold-adamw")]
    cells = [made(*arm, 0.1, seed, 2.0 + 0.01 * seed * (place + 1)) for place, arm in enumerate(arms) for seed in seeds]
    text = report(cells).markdown.read_text()
    assert text.count("less gain in") == contrasts
    assert text.index("| format | optimizer | rate |") > text.find("less gain in")


def test_a_long_training_loss_says_over_how_many_stretches_it_is_averaged(report: Report, made: Any) -> None:
    losses = section(report([made(steps=121)]).page, "losses")
    assert "training loss, averaged over 41 stretches of the run, at the chosen" in losses


def test_a_study_of_fp32_alone_misses_no_fp32_to_compare_with(report: Report, made: Any) -> None:
    losses = section(report([made(None, seed=seed) for seed in (1, 2)]).page, "losses")
    assert "no run in bf16 or fp32 to compare with" not in losses
    assert "lower is better; the line is the mean over seeds" in losses


def test_the_largest_rates_are_told_for_each_optimizer_in_its_own_unit(report: Report, made: Any) -> None:
    cells = [made(rate=rate) for rate in (0.01, 0.1, 1.0)]
    cells += [made(optimizer="manifold-adamw", rate=rate) for rate in (0.1, 1.0, 10.0)]
    losses = section(report(cells).page, "losses")
    told = "No rate that was tried diverged; the largest of each optimizer, in its unit: adamw 1 and manifold-adamw 10."
    assert told in losses


def test_a_rate_that_one_seed_tried_is_off_the_line_of_the_others(report: Report, made: Any) -> None:
    cells = [made(rate=rate, seed=seed, loss=2.0 + rate) for rate in (0.1, 0.2, 0.3) for seed in (1, 2, 3)]
    losses = section(report([*cells, made(rate=0.05, seed=1, loss=1.0)]).page, "losses")
    assert "Rates that fewer seeds tried are open marks, off the line." in losses
    assert "are open marks" not in section(report(cells, place="all").page, "losses")


def test_diverged_runs_are_counted_and_marked(whole: Written) -> None:
    written = whole
    failures = section(written.page, "failures")
    assert "Diverged, over all rates and seeds: e5m2 3 of 18; never: e4m3, bf16 and fp32." in failures
    assert "blocks.0.attn.qkv (3)" in failures
    rates = next(path for path in written.figures if path.name.startswith("rates") and "e5m2" in path.name)
    assert ">3/3<" in rates.read_text()
