"""The trackers: which numbers they pass on, and what they need."""

import json
import logging
import math
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from altgrad_trackers import TensorBoard, WandB
from altgrad_trackers.scalars import by_layer, scalars
from altgrad_trackers.tables import MOST_ROWS, LayerTable, LayerTables, is_due
from altgrad_trackers.wandb_run import automatic_mode
from pydantic import ValidationError

from altgrad_core import PluginError, RunError, RunFacts

STEP = {"kind": "step", "step": 3, "loss": 2.5, "learning_rate": 0.1, "gradient_norm": "Infinity"}
EVALUATION = {"kind": "evaluation", "step": 3, "loss": 2.0, "perplexity": 7.4}
READING = {
    "kind": "reading",
    "step": 3,
    "monitor": "rank",
    "reading": "stable-rank",
    "values": {"lm_head": 4, "*": 5.5, "blocks.0": 1.0},
}


@pytest.fixture
def run(tmp_path):
    return RunFacts(name="demo", directory=tmp_path, manifest={"run": {"name": "demo", "seed": 7}})


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


class FakeRun:
    """What the tracker needs of a `wandb.Run`, remembering all it is told."""

    def __init__(self, **arguments):
        self.arguments, self.logged, self.summary, self.finished = arguments, [], {}, []
        self.url, self.dir = "https://wandb.test/demo", f"{arguments['dir']}/wandb/offline-run-1/files"

    def define_metric(self, name, step_metric):
        self.metric = (name, step_metric)

    def log(self, data):
        self.logged.append(data)

    def finish(self, exit_code):
        self.finished.append(exit_code)


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package, with the runs it began."""
    module, runs = ModuleType("wandb"), []

    class Error(Exception):
        pass

    def init(**arguments):
        runs.append(FakeRun(**arguments))
        return runs[-1]

    module.Error, module.Settings, module.init, module.runs = Error, SimpleNamespace, init, runs
    module.Table = lambda columns, data: {"columns": columns, "data": data}
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")  # so that what is set there ends with the test
    return module


def test_a_run_begins_with_the_name_and_the_manifest(wandb, run, tmp_path):
    WandB(project="mine", init_timeout=3.0).build(run)
    arguments = wandb.runs[0].arguments
    settings = arguments.pop("settings")
    assert arguments == {
        "project": "mine",
        "name": "demo",
        "group": None,
        "job_type": None,
        "tags": [],
        "dir": str(tmp_path),
        "config": {"run": {"name": "demo", "seed": 7}},
        "mode": "offline",
    }
    assert (settings.init_timeout, settings.reinit, settings.console) == (3.0, "create_new", "off")


def test_a_cell_is_found_in_the_group_of_its_study(wandb, tmp_path):
    facts = RunFacts("e4m3-adamw", tmp_path, {}, group="sweep", tags=("e4m3", "a" * 70))
    WandB().build(facts)
    place = {key: wandb.runs[0].arguments[key] for key in ("name", "group", "job_type", "tags")}
    assert place == {"name": "e4m3-adamw", "group": "sweep", "job_type": "cell", "tags": ["e4m3", "a" * 64]}


@pytest.mark.parametrize(
    ("mode", "before", "after"), [("offline", None, "false"), ("offline", "true", "true"), ("online", None, None)]
)
def test_an_offline_run_reports_nothing_to_the_makers_of_wandb(wandb, run, monkeypatch, mode, before, after):
    monkeypatch.delenv("WANDB_ERROR_REPORTING")
    if before is not None:
        monkeypatch.setenv("WANDB_ERROR_REPORTING", before)
    WandB(mode=mode).build(run)
    assert os.environ.get("WANDB_ERROR_REPORTING") == after


def test_the_server_may_not_be_waited_for_longer_than_the_run_waits():
    with pytest.raises(ValidationError, match="init_timeout 40 must be less than patience 30"):
        WandB(init_timeout=40.0)


def test_values_of_layers_are_logged_as_a_table_when_it_is_due_and_at_the_end(wandb, run):
    tracker = WandB().build(run)
    for step in (1, 2, 3):
        tracker.write({**READING, "step": step, "values": {"a": step}})
    tracker.close("finished")
    tables = [(line["step"], line.get("layers/stable-rank")) for line in wandb.runs[0].logged]
    columns, rows = ["step", "layer", "value"], [(step, "a", float(step)) for step in (1, 2, 3)]
    assert tables == [
        (1, {"columns": columns, "data": rows[:1]}),
        (2, {"columns": columns, "data": rows[:2]}),
        (3, None),
        (3, {"columns": columns, "data": rows}),
    ]
    assert max(len(line) for line in wandb.runs[0].logged) == 5


def test_numbers_are_logged_with_their_step(wandb, run):
    tracker = WandB().build(run)
    tracker.write(EVALUATION)
    tracker.write({"kind": "action", "step": 4})
    assert wandb.runs[0].metric == ("*", "step")
    assert wandb.runs[0].logged == [{"step": 3, "val/loss": 2.0, "val/perplexity": 7.4}]


def test_an_offline_run_ends_with_the_command_that_uploads_it(wandb, run, tmp_path):
    assert WandB(mode="offline").build(run).close("finished") == f"wandb sync {tmp_path}/wandb/offline-run-1"
    assert (wandb.runs[0].summary, wandb.runs[0].finished) == ({"status": "finished"}, [0])


def test_an_online_run_ends_with_its_address(wandb, run):
    assert WandB(mode="online").build(run).close("diverged") == "https://wandb.test/demo"
    assert (wandb.runs[0].summary, wandb.runs[0].finished) == ({"status": "diverged"}, [1])


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, "offline"),
        ({"WANDB_API_KEY": "k"}, "online"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, "disabled"),
        ({"WANDB_API_KEY": ""}, "offline"),
    ],
)
def test_the_automatic_mode_never_needs_to_ask(environment, mode):
    assert automatic_mode(environment) == mode


def test_a_server_that_does_not_answer_is_explained(wandb, run, monkeypatch):
    def init(**arguments):
        raise wandb.Error("Timed out.\nConsider something long")

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(RunError) as caught:
        WandB(mode="online").build(run)
    assert str(caught.value) == (
        'tracker "wandb": cannot begin a run (online): Timed out; try mode = "offline" and upload later'
    )


def test_a_missing_wandb_names_the_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(PluginError) as caught:
        WandB().build(run)
    assert str(caught.value) == (
        'tracker "wandb": import of wandb halted; None in sys.modules; install it with: pip install "altgrad[wandb]"'
    )


def test_a_folder_named_wandb_is_not_taken_for_the_package(run, tmp_path, monkeypatch):
    folder = ModuleType("wandb")  # as Python imports the folder that earlier runs left behind
    folder.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "wandb", folder)
    with pytest.raises(PluginError, match='install it with: pip install "altgrad\\[wandb\\]"'):
        WandB().build(run)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_lines_lost_from_the_log_of_wandb_itself_are_no_tracebacks_and_others_are(wandb, run, capfd):
    log, own = logging.getLogger("wandb"), logging.FileHandler("/dev/full")
    before = list(log.handlers)
    tracker = WandB(mode="offline").build(run)
    log.addHandler(own)  # as wandb.init does
    logging.getLogger("wandb.sdk.lib.retry").error("of wandb")
    assert (capfd.readouterr().err, logging.raiseExceptions) == ("", True)
    tracker.close("finished")
    log.removeHandler(own)
    assert log.handlers == before
    others = logging.FileHandler("/dev/full")
    others.handle(logging.makeLogRecord({"msg": "of somebody else"}))
    assert "No space left on device" in capfd.readouterr().err


def test_where_wandb_cannot_begin_its_logger_is_as_it_was(wandb, run, monkeypatch):
    monkeypatch.setattr(wandb, "init", lambda **_: 1 / 0)
    before = list(logging.getLogger("wandb").handlers)
    with pytest.raises(ZeroDivisionError):
        WandB(mode="offline").build(run)
    assert logging.getLogger("wandb").handlers == before


def test_the_real_wandb_keeps_an_offline_run_on_disk(run, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")  # so that what is set there ends with the test
    tracker = WandB(mode="offline").build(run)
    for record in (STEP, EVALUATION, READING):
        tracker.write(record)
    farewell = tracker.close("finished")
    wandb.teardown()  # wandb's own process writes the file after `finish` has returned; this waits for its end
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert farewell == f"wandb sync {folder}"
    (file,) = folder.glob("run-*.wandb")
    raw = file.read_bytes()
    assert len(raw) < 32768  # beyond that the format cuts records, and tags, into pieces
    missing = [tag for tag in (b"train/loss", b"val/perplexity", b"layers/stable-rank/mean") if tag not in raw]
    assert missing == []
    (table,) = (folder / "files" / "media" / "table" / "layers").glob("stable-rank_*.table.json")
    assert json.loads(table.read_text())["data"] == [[3, "lm_head", 4], [3, "blocks.0", 1]]


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

    tracker = TensorBoard().build(RunFacts(name="demo", directory=tmp_path, manifest=MANIFEST))
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
