"""The tracker for Weights & Biases."""

import json
import logging
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from altgrad_trackers import WandB
from altgrad_trackers.wandb_run import automatic_mode
from pydantic import ValidationError

from altgrad_core import PluginError, RunError, TrackedRun
from tests.plugins.test_trackers import EVALUATION, READING, STEP


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
    facts = TrackedRun("e4m3-adamw", tmp_path, {}, group="sweep", tags=("e4m3", "a" * 70))
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
