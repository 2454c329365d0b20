"""The last evaluation records the loss of every validation block, so that the choice of blocks can be in an interval."""

from __future__ import annotations

from statistics import fmean

import pytest

from altgrad_core.results.shapes import is_sound


def test_the_last_evaluation_records_the_loss_of_every_block(runs) -> None:
    runs.begin("run")
    records = runs.records()
    kinds = [record["kind"] for record in records]
    assert kinds.count("blocks") == 1 and kinds.count("evaluation") == 5
    (blocks,) = [record for record in records if record["kind"] == "blocks"]
    last = [record for record in records if record["kind"] == "evaluation"][-1]
    assert is_sound(blocks) and blocks["step"] == last["step"] == 20
    assert len(blocks["losses"]) == 4 and len(set(blocks["losses"])) == 4  # 2 batches of 2 blocks
    assert fmean(blocks["losses"]) == pytest.approx(last["loss"], abs=1e-6)
