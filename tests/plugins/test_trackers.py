"""The trackers: which numbers they pass on, and what they need."""

import math
import sys

import pytest
from altgrad_trackers import TensorBoard
from altgrad_trackers.scalars import by_layer, scalars
from altgrad_trackers.tables import MOST_ROWS, LayerTable, LayerTables, is_due

from altgrad_core import PluginError, TrackedRun

STEP = {"kind": "step", "step": 3, "loss": 2.5, "learning_rate": 0.1, "gradient_norm": "Infinity"}
EVALUATION = {"kind": "evaluation", "step": 3, "loss": 2.0, "perplexity": 7.4}
READING = {
    "kind": "reading",
    "step": 3,
    "monitor": "rank",
    "reading": "stable-rank",
    "values": {"lm_head": 4, "*": 5.5, "blocks.0": 1.0},
}


# ---- which numbers ----


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (STEP, {"train/loss": 2.5, "train/learning_rate": 0.1, "train/gradient_norm": math.inf}),
        (
            {"kind": "step", "learning_rates": [0.1, 3.0]},
            {"train/learning_rate/group-1": 0.1, "train/learning_rate/group-2": 3.0},
        ),
        (EVALUATION, {"val/loss": 2.0, "val/perplexity": 7.4}),
        (
            READING,
            {
                "model/stable-rank": 5.5,
                "layers/stable-rank/mean": 2.5,
                "layers/stable-rank/min": 1.0,
                "layers/stable-rank/max": 4.0,
            },
        ),
        ({**READING, "values": {"*": 5.5}}, {"model/stable-rank": 5.5}),
        ({"kind": "clock", "step": 3, "seconds": 1.5, "tokens_per_second": 900}, {"clock/tokens_per_second": 900.0}),
        ({"kind": "action", "step": 3, "action": "Stop", "because": "enough"}, {}),
        ({"kind": "tracker", "message": "anything"}, {}),
        ({"kind": "step", "step": 3, "loss": 2.5}, {"train/loss": 2.5}),
    ],
)
def test_each_kind_of_record_gives_its_main_numbers(record, expected):
    assert scalars(record) == expected


def test_a_loss_that_is_no_number_stays_none():
    assert math.isnan(scalars({"kind": "step", "step": 1, "loss": "NaN"})["train/loss"])


def test_readings_that_are_no_single_number_are_left_out():
    record = {**READING, "values": {"a": [1, 2], "b": None, "c": {"x": 1}, "d": "word", "e": 1}}
    assert by_layer(record) == {"e": 1.0}
    assert set(scalars(record).values()) == {1.0}


def test_a_layer_that_is_no_number_shows_in_what_is_told_of_all():
    spread = scalars({**READING, "values": {"a": 1, "b": "NaN", "c": 3}})
    assert [math.isnan(value) for value in spread.values()] == [True, True, True]
    assert scalars({**READING, "values": {"a": 1, "b": "-Infinity"}})["layers/stable-rank/min"] == -math.inf


def test_a_reading_of_many_layers_gives_a_handful_of_numbers():
    assert len(scalars({**READING, "values": {"*": 0, **{f"blocks.{n}": n for n in range(1000)}}})) == 4


# ---- tables ----


def test_a_table_is_due_ever_more_seldom():
    assert [taken for taken in range(1, 100) if is_due(taken)] == [1, 2, 4, 8, 16, 32, 64]


def test_tables_hold_every_layer_of_every_step():
    tables = LayerTables()
    assert tables.take("rank", 10, {"a": 1.0, "b": 2.0}) == [(10, "a", 1.0), (10, "b", 2.0)]
    assert tables.take("rank", 20, {"a": 3.0}) == [(10, "a", 1.0), (10, "b", 2.0), (20, "a", 3.0)]
    assert tables.rest() == {}
    assert tables.take("rank", 30, {"a": 4.0}) is None
    assert tables.rest() == {"rank": [(10, "a", 1.0), (10, "b", 2.0), (20, "a", 3.0), (30, "a", 4.0)]}


def test_a_long_table_keeps_every_second_step_then_every_fourth():
    table = LayerTable()
    for step in range(5000):
        table.take(step, {f"blocks.{n}": float(step) for n in range(8)})
    steps = [step for step, layer, _ in table.rows() if layer == "blocks.0"]
    assert steps == list(range(0, 5000, 4))
    assert len(table.rows()) == 8 * 1250 <= MOST_ROWS


def test_a_table_of_one_step_is_cut_off():
    table = LayerTable()
    table.take(1, {f"blocks.{n}": 0.0 for n in range(MOST_ROWS + 5)})
    table.take(2, {"blocks.0": 0.0})
    assert len(table.rows()) == MOST_ROWS


# ---- Weights & Biases ----


# ---- TensorBoard ----


def events_of(folder):
    """Scalars and texts of a folder as TensorBoard reads them: `{tag: [(step, value)]}`."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    everything = {"scalars": 0, "tensors": 0}
    events = accumulator.EventAccumulator(str(folder), size_guidance=everything).Reload()
    tags = events.Tags()
    texts = {
        tag: [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors(tag)] for tag in tags["tensors"]
    }
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}, texts


def test_tensorboard_holds_every_number_at_its_step(run, tmp_path):
    tracker = TensorBoard().build(run)
    for record in (STEP, EVALUATION, READING, {"kind": "action", "step": 3}):
        tracker.write(record)
    assert tracker.close("finished") == f"tensorboard --logdir {tmp_path}/tensorboard"
    numbers, _ = events_of(tmp_path / "tensorboard")
    expected = scalars(STEP) | scalars(EVALUATION) | scalars(READING)
    assert numbers == {tag: [(3, pytest.approx(value, rel=1e-6))] for tag, value in expected.items()}


def test_tensorboard_shows_layers_as_a_table_when_it_is_due_and_at_the_end(run, tmp_path):
    tracker = TensorBoard().build(run)
    for step in (1, 2, 3):
        tracker.write({**READING, "step": step, "values": {"a": step, "b": 0.25}})
    tracker.close("finished")
    _, texts = events_of(tmp_path / "tensorboard")
    shown = [(step, f"| layer | value |\n|---|---|\n| a | {step} |\n| b | 0.25 |") for step in (1, 2, 3)]
    assert texts["layers/stable-rank/text_summary"] == shown
    assert '"name": "demo"' in texts["manifest/text_summary"][0][1]


def test_tensorboard_shows_the_steps_of_a_resumed_or_replayed_run_once(run, tmp_path):
    for steps, loss in ((range(1, 6), 1.0), (range(4, 8), 2.0)):
        tracker = TensorBoard().build(run)
        for step in steps:
            tracker.write({**STEP, "step": step, "loss": loss})
        tracker.close("interrupted")
    numbers, _ = events_of(tmp_path / "tensorboard")
    assert numbers["train/loss"] == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0), (7, 2.0)]


MANIFEST = {
    "run": {"name": "demo", "seed": 7},
    "model": {"use": "nanogpt", "tied": True, "bias": False},
    "optimizer": {"use": "adamw", "lr": 0.5, "betas": [0.9, 0.95], "group": [{"layers": "blocks.*", "lr": 0.25}]},
    "recipe": [{"layers": "*", "weight": {"format": "e4m3"}}],
    "monitor": [{"use": "flips"}],
    "tracker": [{"use": "tensorboard"}],
    "data": {"use": "synthetic", "seed": None},
}


@pytest.mark.parametrize(("status", "is_told"), [("finished", True), ("diverged", False)])
def test_tensorboard_has_the_hyperparameters_beside_the_losses(tmp_path, status, is_told):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tensorboard.plugins.hparams import metadata

    tracker = TensorBoard().build(TrackedRun(name="demo", directory=tmp_path, manifest=MANIFEST))
    for record in (STEP, EVALUATION):
        tracker.write(record)
    tracker.close(status)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    told = events.summary_metadata
    begun = metadata.parse_session_start_info_plugin_data(told[metadata.SESSION_START_INFO_TAG].plugin_data.content)
    found = {key: value.number_value or value.string_value for key, value in begun.hparams.items()}
    assert found == {
        "run.seed": 7, "model.use": "nanogpt", "model.tied": "true", "model.bias": "false",
        "optimizer.use": "adamw", "optimizer.lr": 0.5, "optimizer.betas": "[0.9, 0.95]",
        "optimizer.group[0].layers": "blocks.*", "optimizer.group[0].lr": 0.25,
        "recipe[0].layers": "*", "recipe[0].weight.format": "e4m3", "data.use": "synthetic",
    }  # fmt: skip
    content = told[metadata.EXPERIMENT_TAG].plugin_data.content
    metrics = [metric.name.tag for metric in metadata.parse_experiment_plugin_data(content).metric_infos]
    assert metrics == ["val/loss", "train/loss"] and set(metrics) <= set(events.Tags()["scalars"])
    assert (metadata.SESSION_END_INFO_TAG in told) is is_told


def test_a_missing_tensorboard_names_the_extra(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(PluginError) as caught:
        TensorBoard().build(run)
    assert str(caught.value) == (
        'tracker "tensorboard": import of tensorboard halted; None in sys.modules; '
        'install it with: pip install "altgrad[tensorboard]"'
    )
