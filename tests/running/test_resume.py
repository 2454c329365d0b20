"""A run that was interrupted and resumed is the run that was not: records and checkpoint, byte for byte."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from pydantic import PrivateAttr

from altgrad_core import load_format
from altgrad_core.contracts.actions import Action, ScaleLearningRate
from altgrad_core.contracts.intervention import Intervention
from altgrad_core.errors import RunError
from altgrad_core.running.loop.loop import Loop
from altgrad_core.running.state.checkpoint import read_checkpoint, write_checkpoint
from altgrad_core.running.state.serialize import packed_files, unpacked_files

if TYPE_CHECKING:
    from tests.conftest import Said
    from tests.running.conftest import Runs

STEPS = 20


class SlowDown(Intervention):
    """Multiply the learning rate by 0.7 at every third loss it reads."""

    name: ClassVar = "slow-down"
    reads: ClassVar = "loss"
    acts: ClassVar = (ScaleLearningRate,)
    _seen: int = 0
    _losses: list[float] = PrivateAttr(default_factory=list)

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        self._seen += 1
        self._losses.extend(readings.values())
        if self._seen % 3 == 0:
            yield ScaleLearningRate(factor=0.7, because=f"{self._seen} losses seen, {math.fsum(self._losses)!r} in all")


@pytest.fixture(scope="module")
def whole(shared_runs: Runs) -> Runs:
    """The run that was never interrupted, in the directory `whole`."""
    _slowing(shared_runs)
    assert shared_runs.begin("whole").status == "finished"
    return shared_runs


def _slowing(runs: Runs) -> None:
    runs.text += '\n[[intervention]]\nuse = "slow-down"\n'
    runs.offers = {"intervention": [SlowDown]}


def test_the_run_of_these_tests_switches_formats_scales_its_rate_and_ends_epochs(whole: Runs) -> None:
    records = whole.records("whole")
    actions = [record["action"] for record in records if record["kind"] == "action"]
    assert actions.count("SwitchFormat") == 4
    assert actions.count("ScaleLearningRate") == 6
    assert [r["epoch"] for r in records if r["kind"] == "step"][-1] == pytest.approx(80 / 44)


def test_two_runs_of_one_manifest_are_identical(whole: Runs) -> None:
    whole.begin("again")
    assert whole.result("again") == whole.result("whole")


@pytest.mark.parametrize("step", range(1, STEPS))
def test_interrupted_at_any_step_and_resumed_it_is_the_same_run(step: int, whole: Runs) -> None:
    outcome = whole.begin(f"at-{step}", at=step)
    assert (outcome.status, outcome.exit_code) == ("interrupted", 143)
    assert whole.steps(f"at-{step}")[0] == step
    assert whole.resume(f"at-{step}").status == "finished"
    assert whole.result(f"at-{step}") == whole.result("whole")


def test_a_signal_in_the_last_step_lets_the_run_finish(whole: Runs) -> None:
    assert whole.begin("last", at=STEPS).status == "finished"
    assert whole.result("last") == whole.result("whole")


def test_thrown_back_to_an_older_checkpoint_it_is_the_same_run(whole: Runs) -> None:
    whole.begin("back", at=17)
    newest, older, *_ = whole.steps("back")
    (whole.folder / "back" / "checkpoints" / f"step-{newest}" / "model.safetensors").unlink()
    whole.resume("back")
    assert (newest, older) == (17, 15)
    assert whole.result("back") == whole.result("whole")


def test_what_was_recorded_after_the_checkpoint_is_kept_beside_the_records(whole: Runs) -> None:
    whole.begin("tail", at=17)
    path = whole.folder / "tail" / "records.jsonl"
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"kind":"step","st')
    whole.resume("tail")
    assert path.with_name(f"records.jsonl.tail-{size}").read_bytes() == b'{"kind":"step","st'
    assert whole.result("tail") == whole.result("whole")


def test_begun_but_without_a_checkpoint_it_begins_anew(whole: Runs) -> None:
    whole.begin("anew", at=2)
    for step in whole.steps("anew"):
        (whole.folder / "anew" / "checkpoints" / f"step-{step}").rename(whole.folder / f"gone-{step}")
    whole.resume("anew")
    assert whole.result("anew") == whole.result("whole")


def test_killed_between_the_last_checkpoint_and_the_summary_it_ends_the_same(whole: Runs) -> None:
    whole.begin("ending")
    (whole.folder / "ending" / "summary.json").unlink()
    assert whole.resume("ending").status == "finished"
    assert whole.result("ending") == whole.result("whole")


@pytest.mark.parametrize(
    ("old", "new"), [("lr = 0.1", "lr = 0.7"), ("seed = 11", "seed = 12"), ("n_embd = 8", "n_embd = 16")]
)
def test_a_resolved_manifest_that_was_edited_is_refused_and_nothing_is_changed(
    runs: Runs, altgrad: Callable[..., Said], old: str, new: str
) -> None:
    runs.begin(at=5)
    run = runs.folder / "run"
    path = run / "resolved.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    records = (run / "records.jsonl").read_bytes()
    said = altgrad("resume", run)
    assert (said.code, said.err) == (
        1,
        f"altgrad: {path}: is not the manifest that the checkpoint of step 5 was trained with; restore that one, or start "
        "a separate run from there: "
        f"altgrad run {path} --from {run}@5 --out ANOTHER_DIRECTORY\n",
    )
    assert ((run / "records.jsonl").read_bytes(), runs.steps()) == (records, [5, 3, 0][: len(runs.steps())])
    path.write_text(text)
    assert altgrad("resume", run).code == 0


@pytest.mark.parametrize("place", [0, 300, -1])
def test_records_with_one_bit_turned_are_refused_and_nothing_is_changed(
    runs: Runs, altgrad: Callable[..., Said], place: int
) -> None:
    runs.begin(at=5)
    path = runs.folder / "run" / "records.jsonl"
    sound = path.read_bytes()
    raw = bytearray(sound)
    raw[place] ^= 1
    path.write_bytes(raw)
    said = altgrad("resume", runs.folder / "run")
    assert (said.code, said.err) == (
        1,
        f"altgrad: {path}: its first {len(raw)} bytes are not those at the time of the checkpoint; restore the "
        "file, or remove the checkpoints that are newer than the damage\n",
    )
    assert path.read_bytes() == raw
    path.write_bytes(sound)
    assert altgrad("resume", runs.folder / "run").code == 0


@pytest.mark.parametrize(
    "damage", [b"{}\n", b"[1]\n", b"\xff\n", b'{"kind":"step"}\n', b"[" * 9000 + b"\n", b'{"kind":7,"step":"x"}\n']
)
@pytest.mark.parametrize("loss", [math.nan, None])
def test_a_run_ends_whatever_has_become_of_its_records(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, damage: bytes, loss: float | None
) -> None:
    path = runs.folder / "run" / "records.jsonl"

    def bad(self: Loop, *batch: object) -> Any:
        with path.open("ab") as file:
            file.write(damage)
        if loss is None:
            raise RuntimeError("a crash")
        return sum((p.sum() for p in self.run.model.parameters()), torch.zeros(())) * loss

    monkeypatch.setattr(Loop, "_loss", bad)
    runs.text = runs.text.replace("steps = 20", "steps = 5")
    if loss is None:
        with pytest.raises(RunError, match="crashed after step 0: RuntimeError: a crash\nThe traceback is in"):
            runs.begin()
    else:
        assert runs.begin().status == "diverged"
    assert (runs.folder / "run" / "failure.md").read_text().startswith("# ")


def test_records_shorter_than_the_checkpoint_says_are_refused(whole: Runs) -> None:
    from altgrad_core.errors import RunError

    whole.begin("short", at=5)
    path = whole.folder / "short" / "records.jsonl"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError) as caught:
        whole.resume("short")
    assert str(caught.value) == (
        f"{path}: has 100 bytes, but {size} had been written at the time of "
        "the checkpoint; restore the whole file, or remove the checkpoints that are newer than it"
    )


Files = dict[str, bytes]


def _without_moments(files: Files) -> Files:
    state = unpacked_files("optimizer", files)
    state["state"] = {}
    return packed_files("optimizer", state)


def _without_one_moment(files: Files) -> Files:
    state = unpacked_files("optimizer", files)
    state["state"][0]["exp_avg"].zero_()
    return packed_files("optimizer", state)


def _without_histories(files: Files) -> Files:
    plan = json.loads(files["plan.json"])
    for roles in plan["operands"].values():
        for operand in roles.values():
            operand["history"] = []
    return {"plan.json": json.dumps(plan).encode()}


def _without_switches(files: Files) -> Files:
    plan = json.loads(files["plan.json"])
    for roles in plan["operands"].values():
        roles["weight"]["format"] = load_format("e5m2").facts()
    return {"plan.json": json.dumps(plan).encode()}


def _without_monitors(files: Files) -> Files:
    return _observers_without(files, "monitors")


def _without_interventions(files: Files) -> Files:
    return _observers_without(files, "interventions")


def _observers_without(files: Files, group: str) -> Files:
    state = unpacked_files("observers", files)
    state[group] = [{} for _ in state[group]]
    return packed_files("observers", state)


def _progress(**changes: Any) -> Callable[[Files], Files]:
    return lambda files: {"progress.json": json.dumps({**json.loads(files["progress.json"]), **changes}).encode()}


def _without_weights(files: Files) -> Files:
    from safetensors.torch import load, save

    return {
        "model.safetensors": save({name: torch.zeros_like(t) for name, t in load(files["model.safetensors"]).items()})
    }


LEFT_OUT: dict[str, Callable[[Files], Files]] = {
    "weights": _without_weights,
    "optimizer": _without_moments,
    "one moment of one weight": _without_one_moment,
    "amax histories": _without_histories,
    "formats switched to": _without_switches,
    "state of monitors": _without_monitors,
    "state of interventions": _without_interventions,
    "step": _progress(step=9),
    "rate factor": _progress(rate_factor=1.0),
    "best loss": _progress(best_loss=0.0, best_step=9),
    "number of switches": _progress(switches=0),
}


@pytest.mark.parametrize("what", [None, *LEFT_OUT])
def test_leaving_out_one_piece_of_state_changes_the_run(what: str | None, whole: Runs) -> None:
    name = f"without {what}"
    whole.begin(name, at=10)
    _edit(whole, name, LEFT_OUT[what] if what else lambda files: {})
    whole.resume(name)
    assert (whole.result(name) == whole.result("whole")) is (what is None)


def _edit(runs: Runs, name: str, edit: Callable[[Files], Files]) -> None:
    """Write the checkpoint of step 10 anew with some files changed."""
    root = runs.folder / name / "checkpoints"
    files = read_checkpoint(root / "step-10")
    write_checkpoint(root, 10, {**files, **edit(files)})
