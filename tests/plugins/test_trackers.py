"""The trackers: which numbers they pass on, and what they need."""

import math
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest
from altgrad_trackers import TensorBoard, WandB
from altgrad_trackers.scalars import scalars
from altgrad_trackers.wandb_run import automatic_mode

from altgrad_core import PluginError, RunError, RunFacts

STEP = {"kind": "step", "step": 3, "loss": 2.5, "learning_rate": 0.1, "gradient_norm": "Infinity"}
EVALUATION = {"kind": "evaluation", "step": 3, "loss": 2.0, "perplexity": 7.4}
READING = {
    "kind": "reading",
    "step": 3,
    "monitor": "rank",
    "reading": "stable-rank",
    "values": {"lm_head": 4, "*": 5.5},
}


@pytest.fixture
def run(tmp_path):
    return RunFacts(name="demo", directory=tmp_path, manifest={"run": {"name": "demo", "seed": 7}})


# ---- which numbers ----


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (STEP, {"train/loss": 2.5, "train/learning_rate": 0.1, "train/gradient_norm": math.inf}),
        (EVALUATION, {"val/loss": 2.0, "val/perplexity": 7.4}),
        (READING, {"layer/lm_head/stable-rank": 4.0, "model/stable-rank": 5.5}),
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
    assert scalars(record) == {"layer/e/stable-rank": 1.0}


def test_a_reading_of_many_layers_gives_a_hundred_numbers():
    tags = list(scalars({**READING, "values": {f"blocks.{n}": n for n in range(150)}}))
    assert len(tags) == 100
    assert tags[-1] == "layer/blocks.99/stable-rank"


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
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return module


def test_a_run_begins_with_the_name_and_the_manifest(wandb, run, tmp_path):
    WandB(project="mine", init_timeout=3.0).build(run)
    arguments = wandb.runs[0].arguments
    settings = arguments.pop("settings")
    assert arguments == {
        "project": "mine",
        "name": "demo",
        "dir": str(tmp_path),
        "config": {"run": {"name": "demo", "seed": 7}},
        "mode": "offline",
    }
    assert (settings.init_timeout, settings.reinit, settings.console) == (3.0, "create_new", "off")


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


def holds(file, tags):
    """Whether a run file holds all of these; wandb's own process may still be writing it for a moment."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if all(tag in file.read_bytes() for tag in tags):
            return True
        time.sleep(0.1)
    return False


def test_the_real_wandb_keeps_an_offline_run_on_disk(run, tmp_path):
    pytest.importorskip("wandb")
    tracker = WandB(mode="offline").build(run)
    for record in (STEP, EVALUATION, READING):
        tracker.write(record)
    farewell = tracker.close("finished")
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert farewell == f"wandb sync {folder}"
    (file,) = folder.glob("run-*.wandb")
    assert holds(file, (b"train/loss", b"val/perplexity", b"layer/lm_head/stable-rank"))


# ---- TensorBoard ----


def test_tensorboard_holds_every_number_at_its_step(run, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorBoard().build(run)
    for record in (STEP, EVALUATION, READING, {"kind": "action", "step": 3}):
        tracker.write(record)
    assert tracker.close("finished") == f"tensorboard --logdir {tmp_path}/tensorboard"
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    expected = scalars(STEP) | scalars(EVALUATION) | scalars(READING)
    assert found == {tag: [(3, pytest.approx(value, rel=1e-6))] for tag, value in expected.items()}


def test_a_missing_tensorboard_names_the_extra(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(PluginError) as caught:
        TensorBoard().build(run)
    assert str(caught.value) == (
        'tracker "tensorboard": import of tensorboard halted; None in sys.modules; '
        'install it with: pip install "altgrad[tensorboard]"'
    )
