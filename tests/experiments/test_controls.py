"""Controls: runs that must be the same, and arms that differ in one key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.controls import contrast_sentences
from altgrad_core.experiments.study.study import Study

Read = Callable[..., Study]


def test_formats_of_one_grid_are_found_by_their_facts(study: Read, made: Any) -> None:
    found = study([made(format) for format in ("e0m7", "e1m6", "e4m3", "e4m3-ieee", "e2m5")])
    assert Analysis(found).twins == (("e0m7", "e1m6"),)


def test_formats_of_one_grid_with_the_same_losses_are_identical(study: Read, made: Any) -> None:
    found = study([made(f, seed=s, loss=2.0 + s) for f in ("e0m7", "e1m6", "e4m3") for s in (1, 2)])
    (same,) = Analysis(found).same_grids
    assert (same.pairs, same.identical, same.difference) == (2, 2, None)
    assert same.sentence == "e0m7 and e1m6: the losses are identical, bit for bit, in all 2 pairs."


def test_the_first_difference_is_told(write: Callable[..., Path], made: Any) -> None:
    directory = write([made(f, seed=s) for f in ("e0m7", "e1m6") for s in (1, 2)])
    path = directory / made("e1m6", seed=2).name / "records.jsonl"
    path.write_text(path.read_text().replace('"step":2,"loss":3.0,', '"step":2,"loss":3.0000000000000004,'))
    (same,) = Analysis(Study.read(directory)).same_grids
    assert same.sentence == (
        "e0m7 and e1m6: identical in 1 of 2 pairs; e0m7-adamw-lr0.1-seed2: the first difference is in the training loss of "
        "step 2: 3.0 against 3.0000000000000004."
    )


def test_two_runs_that_diverge_alike_are_the_same(study: Read, made: Any) -> None:
    (same,) = Analysis(study([made(f, loss=None) for f in ("e0m7", "e1m6")])).same_grids
    assert (same.pairs, same.identical) == (1, 1)


def test_twins_that_were_not_run_alike_cannot_be_paired(study: Read, made: Any) -> None:
    (same,) = Analysis(study([made("e0m7", seed=1), made("e1m6", seed=2)])).same_grids
    assert same.sentence == "No run of e0m7 and e1m6 can be paired, so whether they are the same is not known."


def test_an_option_that_changes_nothing_is_noticed(study: Read, made: Any) -> None:
    cells = [made("e4m3", o, seed=s, loss=2.0 + s) for o in ("adamw", "manifold-adamw") for s in (1, 2)]
    (same,) = Analysis(study(cells)).same_optimizers
    assert (same.one, same.other, same.pairs) == ("adamw", "manifold-adamw", 2)
    assert Analysis(study([*cells[:3], replace(cells[3], loss=9.0)], place="other")).same_optimizers == ()


def test_arms_that_differ_in_one_key_are_contrasted(study: Read, made: Any) -> None:
    gains = {1: 0.10, 2: 0.12, 3: 0.11}
    cells = [
        made(format, seed=seed, loss=2.0 - (gains[seed] if rounding == "stochastic" and format == "e4m3" else 0.0),
             quantizer={"rounding": rounding})
        for format in ("e4m3", "e5m2") for rounding in ("nearest-even", "stochastic") for seed in (1, 2, 3)
    ]  # fmt: skip
    one, other = Analysis(study(cells)).contrasts
    assert (one.key, one.one, one.other, one.sign) == ("rounding", "nearest-even", "stochastic", 1)
    assert one.differences == pytest.approx((0.10, 0.12, 0.11))
    assert (other.differences, other.sign) == ((0.0, 0.0, 0.0), 0)
    assert contrast_sentences(Analysis(study(cells, place="again")).contrasts, "nats per token") == (
        "Rounding, stochastic against nearest-even: stochastic is better in e4m3 with adamw (0.11 nats per token, 95 % "
        "interval 0.0852 to 0.135, 3 seeds); no difference is shown in e5m2 with adamw (0 nats per token, 95 % interval 0 to "
        "0, 3 seeds).",
    )


def test_options_of_one_optimizer_are_contrasted(study: Read, made: Any) -> None:
    cells = [
        made(optimizer="manifold-adamw", seed=1, loss=loss, options={"precondition": name})
        for name, loss in (("rungs", 2.0), ("off", 2.2), ("gradient", None))
    ]
    found = Analysis(study(cells)).contrasts
    assert [(c.key, c.one, c.other, c.differences) for c in found] == [
        ("precondition", "rungs", "off", (pytest.approx(-0.2),)),
        ("precondition", "rungs", "gradient", ()),
        ("precondition", "off", "gradient", ()),
    ]
    assert contrast_sentences(Analysis(study(cells, place="again")).contrasts, "nats per token")[:2] == (
        "Precondition, off against rungs: no difference is shown in e4m3 with manifold-adamw (-0.2 nats per token, 1 seed).",
        "Precondition, gradient against rungs: no pair has ended in e4m3 with manifold-adamw.",
    )


def test_arms_that_differ_in_two_keys_are_not_contrasted(study: Read, made: Any) -> None:
    cells = [made(), made(quantizer={"rounding": "stochastic"}, set={"data.batch_size": 8})]
    assert Analysis(study(cells)).contrasts == ()


def test_formats_of_sixteen_bits_and_more_are_references(study: Read, made: Any) -> None:
    assert Analysis(study([made("e4m3"), made(None), made("bf16"), made("e5m2")])).references == ("bf16", "fp32")
