"""The weights of the last checkpoint on the grids of their formats: counted by hand, or why they cannot be seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from altgrad_core.experiments.report.weights import Unseen, last_weights
from altgrad_core.running.state.checkpoint import write_checkpoint

TINY = {"name": "tiny", "bits": 3, "exponent_bits": 1, "mantissa_bits": 1, "bias": 0, "specials": "finite", "subnormals": "yes", "signed": True}  # fmt: skip
# rungs of that format: -3 -2 -1 0 1 2 3

Write = Callable[..., Path]


def test_each_weight_counts_at_the_rung_nearest_to_it(tmp_path: Path, checkpoint: Write) -> None:
    checkpoint(tmp_path, 5, {"a": ([[0.1, 0.6, -0.6, 2.9]], TINY, 1.0)})
    (seen,) = last_weights(tmp_path)
    assert (seen.format, seen.step, seen.layers, seen.weights, seen.rungs, seen.used) == ("tiny", 5, 1, 4, 7, 4)
    assert list(seen.occupied.rungs) == [-3, -2, -1, 0, 1, 2, 3]
    assert list(seen.occupied.counts) == [0, 0, 1, 1, 1, 0, 1]
    assert seen.entropy == 2.0
    assert sum(seen.occupied.density) == 4


@pytest.mark.parametrize(
    ("scale", "counts"),
    [
        (0.5, [1, 0, 0, 0, 0, 2, 1]),
        ([[0.5], [1.0]], [0, 1, 0, 0, 1, 1, 1]),
        ([[0.5, 1.0], [1.0, 0.5]], [1, 0, 0, 0, 1, 2, 0]),
    ],
)
def test_weights_are_divided_by_the_scale_of_the_tensor_the_row_or_the_block(
    tmp_path: Path, checkpoint: Write, scale: Any, counts: list[int]
) -> None:
    checkpoint(tmp_path, 1, {"a": ([[1.0, 1.6], [0.9, -1.9]], TINY, scale)})
    (seen,) = last_weights(tmp_path)
    assert sum(seen.occupied.counts) == 4
    assert list(seen.occupied.counts) == counts


def test_the_last_step_is_taken_by_its_number_and_half_written_ones_are_left(tmp_path: Path, checkpoint: Write) -> None:
    checkpoint(tmp_path, 9, {"a": ([[1.0]], TINY, 1.0)})
    checkpoint(tmp_path, 10, {"a": ([[2.0]], TINY, 1.0)})
    (tmp_path / "checkpoints" / "step-11.tmp").mkdir()
    assert last_weights(tmp_path)[0].step == 10


def test_formats_are_gathered_each_with_its_layers(tmp_path: Path, checkpoint: Write, format_facts: Any) -> None:
    layers = {
        "a": ([[1.0]], TINY, 1.0),
        "b": ([[1.0]], TINY, 1.0),
        "c": ([[1.0]], format_facts("e4m3"), 1.0),
        "d": ([[1.0]], format_facts("bf16"), 1.0),
        "e": ([[1.0]], format_facts("fp32"), 1.0),
    }
    checkpoint(tmp_path, 1, layers)
    assert [(seen.format, seen.layers) for seen in last_weights(tmp_path)] == [("tiny", 2), ("e4m3", 1)]


def test_weights_that_are_not_finite_are_left_out(tmp_path: Path, checkpoint: Write) -> None:
    checkpoint(tmp_path, 1, {"a": ([[float("nan"), float("inf"), 1.0]], TINY, 1.0)})
    assert last_weights(tmp_path)[0].weights == 1


@pytest.mark.parametrize("name", ["model.safetensors", "plan.json", "checkpoint.json"])
@pytest.mark.parametrize("content", [None, b"", b"\xff" * 64, b"[]"])
def test_a_checkpoint_that_does_not_verify_is_not_drawn(
    tmp_path: Path, checkpoint: Write, name: str, content: bytes | None
) -> None:
    place = checkpoint(tmp_path, 3, {"a": ([[1.0]], TINY, 1.0)})
    (place / name).unlink() if content is None else (place / name).write_bytes(content)
    with pytest.raises(Unseen, match=rf"^the checkpoint of step 3 does not verify: {name} [^/]+$"):
        last_weights(tmp_path)


def test_weights_that_were_overwritten_are_not_drawn(tmp_path: Path, checkpoint: Write) -> None:
    place = checkpoint(tmp_path, 3, {"a": ([[1.0, 2.0]], TINY, 1.0)})
    (place / "model.safetensors").write_bytes(save({"a.weight": np.full((1, 2), 0.01, dtype=np.float32)}))
    with pytest.raises(Unseen) as caught:
        last_weights(tmp_path)
    told = (
        "the checkpoint of step 3 does not verify: model.safetensors was altered: its SHA-256 is not the recorded one"
    )
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (b"{", r"the checkpoint of step 3 cannot be read (JSONDecodeError)"),
        (b"[]", r"the checkpoint of step 3 cannot be read (TypeError)"),
        (b'{"operands": {}}', "no weight lies on a grid with few enough rungs to be drawn"),
        (
            b'{"operands": {"a": {"weight": {"format": {"name": "strange", "bits": 8}, "scale": 1.0}}}}',
            'the run did not record the rungs of the format "strange"',
        ),
    ],
)
def test_a_checkpoint_whose_plan_tells_no_grid_is_said(tmp_path: Path, plan: bytes, why: str) -> None:
    model = save({"a.weight": np.ones((1, 1), dtype=np.float32)})
    write_checkpoint(tmp_path / "checkpoints", 3, {"model.safetensors": model, "plan.json": plan})
    with pytest.raises(Unseen) as caught:
        last_weights(tmp_path)
    assert str(caught.value) == why


def test_a_format_that_is_not_installed_is_drawn_by_the_rungs_that_were_recorded(
    tmp_path: Path, checkpoint: Write
) -> None:
    checkpoint(tmp_path, 1, {"a": ([[1.0, 0.9, -4.0]], {"name": "strange", "bits": 2}, 1.0)})
    (seen,) = last_weights(tmp_path, {"strange": {"values": [-2.0, 0.0, 1.0]}})
    assert (seen.format, list(seen.occupied.counts)) == ("strange", [1, 0, 2])


def test_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unseen, match=r"^there is no checkpoint$"):
        last_weights(tmp_path)
