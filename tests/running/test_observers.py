"""Looking changes nothing: monitors on and off, broken or careless, and interventions that fail."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch

from altgrad_core.contracts.actions import Action, Stop
from altgrad_core.contracts.events import Backpropagated, Began, Ended, Evaluated
from altgrad_core.contracts.intervention import Intervention
from altgrad_core.contracts.monitor import Monitor, Readings
from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.errors import RunError

if TYPE_CHECKING:
    from tests.conftest import Said
    from tests.running.conftest import Runs

TRAINED = ("model.safetensors", "optimizer.json", "optimizer.safetensors", "plan.json")
WITHOUT_ACTIONS = ("below = 1.0", "below = 1e-30")


class Careless(Monitor):
    """Draws from every shared generator, and seeds them."""

    name: ClassVar = "careless"

    def observe(self, event: Any) -> Readings:
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        torch.rand(3)
        return {w.path: float(w.after.abs().max()) for w in event.weights("*")}


class CarelessBefore(Careless):
    """The same between gradient and update."""

    name: ClassVar = "careless-before"
    on: ClassVar = Backpropagated


class Failing(Monitor):
    """Fails at every second step."""

    name: ClassVar = "failing"

    def observe(self, event: Any) -> Readings:
        if event.step % 2:
            raise ValueError(f"no idea at {event.step}")
        return {"*": 1.0}


class Quitting(Monitor):
    """Asks the whole process to end."""

    name: ClassVar = "quitting"

    def observe(self, event: Any) -> Readings:
        raise SystemExit(3)


NO = 'ValueError: observe returned no number as "nonsense" of layer "*": '


class Nonsense(Monitor):
    """Reports what is not a number."""

    name: ClassVar = "nonsense"

    def observe(self, event: Any) -> Readings:
        return {"*": "much"}


class First(Monitor):
    """Counts what it was shown, of the events that happen once or seldom."""

    name: ClassVar = "first"
    on: ClassVar = Began
    _seen: int = 0

    def observe(self, event: Any) -> Readings:
        self._seen += 1
        return {"*": self._seen}


class Last(First):
    """The same, at the end."""

    name: ClassVar = "last"
    on: ClassVar = Ended


class Between(First):
    """The same, at evaluations."""

    name: ClassVar = "between"
    on: ClassVar = Evaluated


class Undecided(Intervention):
    """Cannot decide at step 5."""

    name: ClassVar = "undecided"
    reads: ClassVar = "loss"
    acts: ClassVar = (Stop,)

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        if step == 5:
            raise KeyError("what")
        return iter(())


class Overstepping(Undecided):
    """Does what it did not declare."""

    name: ClassVar = "overstepping"
    acts: ClassVar = ()

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        yield Stop(because="I say so")


class StopEarly(Intervention):
    """Stop at the second validation loss."""

    name: ClassVar = "stop-early"
    reads: ClassVar = "validation-loss"
    acts: ClassVar = (Stop,)
    _seen: int = 0

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        self._seen += 1
        if self._seen == 2:
            yield Stop(because="two are enough")


def _trained(runs: Runs, name: str) -> list[object]:
    result = runs.result(name)
    steps = [record for record in runs.records(name) if record["kind"] in ("step", "evaluation")]
    return [steps, *(result[file] for file in TRAINED)]


def _with(runs: Runs, *uses: type) -> None:
    """The manifest with these monitors and interventions as well."""
    for use in uses:
        kind = "monitor" if issubclass(use, Monitor) else "intervention"
        runs.offers.setdefault(kind, []).append(use)
        runs.text += f'\n[[{kind}]]\nuse = "{use.name}"\n'  # type: ignore[attr-defined]


@pytest.fixture
def plain(runs: Runs) -> Runs:
    """A manifest without monitors, and its run in the directory `plain`."""
    runs.text = runs.text[: runs.text.index("[[monitor]]")]
    runs.begin("plain")
    return runs


def test_with_every_monitor_that_is_installed_the_weights_are_the_same(plain: Runs) -> None:
    monitors = plain.registry().names("monitor")
    assert len(monitors) >= 2
    plain.text += "".join(f'\n[[monitor]]\nuse = "{name}"\nevery = 5\n' for name in monitors)
    plain.begin("watched")
    kinds = {record["monitor"] for record in plain.records("watched") if record["kind"] == "reading"}
    assert kinds == set(monitors)
    assert _trained(plain, "watched") == _trained(plain, "plain")


def test_monitors_that_draw_random_numbers_and_seed_generators_change_nothing(plain: Runs) -> None:
    _with(plain, Careless, CarelessBefore)
    plain.begin("watched")
    assert _trained(plain, "watched") == _trained(plain, "plain")


@pytest.mark.parametrize("setting", ["run.checkpoint_every=1", "run.keep_checkpoints=9"])
def test_saving_more_often_changes_nothing(setting: str, plain: Runs) -> None:
    plain.begin("often", setting)
    assert _trained(plain, "often") == _trained(plain, "plain")


def test_evaluating_more_often_changes_nothing(plain: Runs) -> None:
    plain.begin("often", "run.evaluate_every=1", "run.evaluate_batches=5")
    assert [_trained(plain, "often")[1:]] == [_trained(plain, "plain")[1:]]


def test_a_monitor_that_fails_is_recorded_and_the_run_goes_on(plain: Runs) -> None:
    _with(plain, Failing)
    assert plain.begin("run").status == "finished"
    failed = [record for record in plain.records() if record["kind"] == "monitor-failed"]
    assert failed == [
        {"kind": "monitor-failed", "step": step, "monitor": "failing", "reason": f"ValueError: no idea at {step}"}
        for step in range(1, 21, 2)
    ]
    assert [record["step"] for record in plain.records() if record["kind"] == "reading"] == list(range(2, 21, 2))
    assert [record["message"] for record in plain.clock() if record["kind"] == "warning"] == [
        "monitor failing failed at step 1: ValueError: no idea at 1; the run goes on without its readings"
    ]
    assert _trained(plain, "run") == _trained(plain, "plain")


@pytest.mark.parametrize(
    ("monitor", "reason"),
    [(Quitting, "SystemExit: 3"), (Nonsense, f"{NO}could not convert string to float: 'much'")],
)
def test_whatever_a_monitor_does_wrong_is_a_record(monitor: type, reason: str, plain: Runs) -> None:
    _with(plain, monitor)
    assert plain.begin("run").status == "finished"
    assert {record["reason"] for record in plain.records() if record["kind"] == "monitor-failed"} == {reason}


def test_a_run_with_failing_monitors_is_resumed_as_exactly(runs: Runs) -> None:
    _with(runs, Failing, First, Last, Between)
    runs.begin("whole")
    runs.begin("run", at=6)
    runs.resume(at=11)
    runs.resume()
    assert runs.result() == runs.result("whole")
    seen = [
        (r["monitor"], r["step"], r["values"]["*"])
        for r in runs.records()
        if r.get("monitor") in ("first", "last", "between")
    ]
    assert seen == [("first", 0, 1), *(("between", 4 * n, n) for n in range(1, 6)), ("last", 20, 1)]


def test_an_intervention_that_fails_ends_the_run_with_1(
    plain: Runs, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    _with(plain, Undecided)
    monkeypatch.setattr("altgrad_core.registry.registry.installed", plain.registry)
    said = altgrad("run", plain.manifest(), "--out", plain.folder / "run")
    assert said.code == 1
    assert said.err.splitlines()[-1] == "altgrad: intervention undecided failed at step 5: KeyError: 'what'"
    assert "Traceback" not in said.err
    assert plain.steps() == [3, 0]
    assert "KeyError: 'what'\n```" in (plain.folder / "run" / "failure.md").read_text()  # the whole traceback


class Vanishing(OptimizerSpec):
    """Raises what is no error in its step."""

    name: ClassVar = "vanishing"
    lr: float = 0.1

    def build(self, groups: Any, geometry: Any) -> torch.optim.Optimizer:
        class Step(torch.optim.SGD):
            def step(self, closure: Any = None) -> Any:
                raise GeneratorExit("no more")

        return Step(groups, lr=self.lr)


def test_what_is_no_error_and_raised_in_a_step_is_a_crash_with_a_report(runs: Runs) -> None:
    runs.offers = {"optimizer": [Vanishing]}
    start, _, rest = runs.text.partition("[optimizer]")
    runs.text = f'{start}[optimizer]\nuse = "vanishing"\n[[recipe]]{rest.partition("[[recipe]]")[2]}'
    with pytest.raises(RunError, match="crashed after step 0: GeneratorExit: no more\nThe traceback is in"):
        runs.begin()
    assert "GeneratorExit: no more" in (runs.folder / "run" / "failure.md").read_text()


def test_an_intervention_may_do_only_what_it_declared(plain: Runs) -> None:
    _with(plain, Overstepping)
    with pytest.raises(RunError) as caught:
        plain.begin("run")
    assert str(caught.value) == (
        "intervention overstepping yielded Stop(because='I say so', diverged=False) at step 1; it declares to act with nothing"
    )


def test_stopped_at_an_evaluation_the_last_step_is_saved(plain: Runs) -> None:
    _with(plain, StopEarly)
    outcome = plain.begin("run")
    assert (outcome.status, outcome.exit_code, outcome.ending.summary["reason"]) == ("stopped", 4, "two are enough")
    assert plain.steps()[0] == outcome.ending.summary["step"] == 8
