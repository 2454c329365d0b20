"""From events to readings and decisions: plain numbers in one transfer, several readings together, and failures."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from altgrad_core.contracts.actions import Action, Warn
from altgrad_core.contracts.events import Backpropagated, Ended, Event, Updated
from altgrad_core.contracts.intervention import Intervention
from altgrad_core.contracts.monitor import Monitor, Readings
from altgrad_core.records.diagnosis import as_markdown, diagnose
from altgrad_core.records.record import encode_record
from altgrad_core.running.loop.dispatch import Dispatch, Fetch
from altgrad_core.testing.tiny import Tape

TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.int8, torch.uint8, torch.bool)  # fmt: skip


class Speechless(BaseException):
    def __str__(self) -> str:
        raise ZeroDivisionError


class Saying(Monitor):
    """Reports what it is told to."""

    name: ClassVar = "saying"
    reports: ClassVar = ("saying", "again")
    says: Any = None

    def observe(self, event: Event) -> Readings:
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says  # type: ignore[no-any-return]


class Other(Saying):
    """The same under another name."""

    name: ClassVar = "other"


class Calls(TorchFunctionMode):
    """Keeps the names of the functions of torch that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def recorded(*monitors: Monitor) -> list[dict[str, Any]]:
    tape = Tape()
    Dispatch(monitors, (), tape).emit(Updated(1, None, 1.0, 0.1), {})  # type: ignore[arg-type]
    return tape.records


def values(*monitors: Monitor) -> list[dict[str, Any]]:
    return [record["values"] for record in recorded(*monitors)]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_a_number_is_what_item_gives(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensors = [torch.tensor(x).to(dtype).reshape(shape) for x in (0, 1, 3)]
    found = values(Saying(says={"a": tensors[0], "b": tensors[1]}), Other(says={"again": {"c": tensors[2]}}))
    numbers = [number for one in found for number in one.values()]
    assert numbers == [tensor.item() for tensor in tensors]
    kinds = [int if dtype == torch.bool else type(tensor.item()) for tensor in tensors]  # records have numbers alone
    assert [type(number) for number in numbers] == kinds


def test_numbers_and_unusual_tensors_stay_what_they_are() -> None:
    said = {
        "int": 3,
        "float": 0.1,
        "bool": True,
        "large": torch.tensor(2**62 + 1),
        "nan": torch.tensor(float("nan")),
        "sparse": torch.tensor([2.5]).to_sparse().sum(),
        "parameter": nn.Parameter(torch.tensor(1.5)),
        "graph": torch.tensor(2.0, requires_grad=True) * 2,
    }
    (found,) = values(Saying(says=said))
    assert repr(found) == repr(
        {"int": 3, "float": 0.1, "bool": 1, "large": 2**62 + 1, "nan": float("nan"), "sparse": 2.5, "parameter": 1.5, "graph": 4.0}
    )  # fmt: skip


def test_there_is_one_transfer_for_each_type_of_all_monitors() -> None:
    says = {"saying": {str(n): torch.tensor(float(n)) for n in range(50)}, "again": {"x": torch.tensor(1)}}
    with Calls() as calls:
        found = values(Saying(says=says), Other(says=says))
    assert found == 2 * [{str(n): float(n) for n in range(50)}, {"x": 1}]
    assert (calls.names.count("tolist"), calls.names.count("item")) == (2, 0)


def test_a_truth_value_is_a_number_in_the_records() -> None:
    (record,) = recorded(Saying(says={"a": True, "b": torch.tensor(False), "c": 3}))
    assert record["values"] == {"a": 1, "b": 0, "c": 3}
    assert not any(isinstance(value, bool) for value in record["values"].values())
    assert '{"a":1,"b":0,"c":3}' in encode_record(record)


def test_what_is_told_of_a_failure_has_an_end() -> None:
    for says in ([0.0] * 100_000, ValueError("no" * 10**6)):
        (record,) = recorded(Saying(says=says))
        assert record["kind"] == "monitor-failed" and len(record["reason"]) < 2100


NO = 'ValueError: observe returned no number as "saying" of layer "a": '


def test_a_failure_is_recorded_in_its_place_and_concerns_its_monitor_alone() -> None:
    good = {"a": torch.tensor(1.0)}
    broken: list[tuple[Any, str]] = [
        (ValueError("no idea"), "ValueError: no idea"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
        (GeneratorExit("gone"), "GeneratorExit: gone"),
        (Speechless(), "Speechless: (its text cannot be made: ZeroDivisionError)"),
        ({"a": torch.ones(2)}, NO + "a Tensor with 2 elements cannot be converted to Scalar"),
        ({"a": torch.ones((), device="meta")}, NO + "Tensor.item() cannot be called on meta tensors"),
        ({"a": torch.tensor(1j)}, NO + "float() argument must be a string or a real number, not 'complex'"),
        ({"a": 10**400}, NO + "int too large to convert to float"),
        ({"a": "much"}, NO + "could not convert string to float: 'much'"),
        ({"unknown": good}, 'ValueError: observe returned the reading "unknown"; it reports saying, again'),
        (None, "TypeError: observe returned None; expected a dict"),
    ]
    for says, reason in broken:
        records = recorded(Saying(says=good), Other(says=says), Saying(says=good))
        assert [record["kind"] for record in records] == ["reading", "monitor-failed", "reading"]
        assert (records[1]["monitor"], records[1]["reason"]) == ("other", reason)
        told = {"kind": "reading", "step": 1, "monitor": "saying", "reading": "saying", "values": {"a": 1.0}}
        assert [records[0], records[2]] == [{**told, "instance": 1}, {**told, "instance": 2}]


def test_nothing_is_fetched_where_there_is_nothing() -> None:
    assert values(Saying(says={}), Saying(says={"saying": {}})) == []
    assert Fetch([]).number(2) == 2


class Together(Intervention):
    """Notes what it is asked about; reads two readings."""

    name: ClassVar = "together"
    reads: ClassVar = ("saying", "loss")
    acts: ClassVar = (Warn,)
    _asked: list[Any] = []

    def decide(self, step: int, readings: dict[str, Any]) -> list[Action]:
        self._asked = [*self._asked, readings]
        return [Warn(because="noted")] if "saying" in readings else []


def test_of_several_readings_those_that_are_new_are_given_together() -> None:
    guard, monitors = Together(), (Saying(says={"a": 1.0}), Saying(says={"saying": {"b": 2.0}, "again": {"c": 3.0}}))
    dispatch = Dispatch(monitors, (guard,), Tape())  # type: ignore[arg-type]
    decided = dispatch.emit(Updated(1, None, 1.0, 0.1), {"learning-rate": 0.1})  # type: ignore[arg-type]
    assert [(d.intervention, d.action, d.event, d.instance) for d in decided] == [
        (guard, Warn(because="noted"), "Updated", {})
    ]
    assert dispatch.emit(Backpropagated(2, None, 4.0, 1.0), {"loss": 4.0}) == []  # type: ignore[arg-type]
    assert dispatch.emit(Ended(2, None, "finished"), {}) == []  # type: ignore[arg-type]
    assert guard._asked == [{"saying": {"a": 1.0, "b": 2.0}}, {"loss": {"*": 4.0}}]


class Heard(Tape):
    """A tape that keeps the warnings too."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[dict[str, Any]] = []

    def noticed(self, record: dict[str, Any]) -> None:
        self.warnings.append(record)


def test_a_monitor_that_raises_leaves_its_traceback_once_and_those_of_one_name_are_told_apart() -> None:
    tape, broken = Heard(), Saying(says=ValueError("no idea"))
    dispatch = Dispatch((Saying(says={"a": 1.0}), broken), (), tape)  # type: ignore[arg-type]
    for step in (1, 2):
        dispatch.emit(Updated(step, None, 1.0, 0.1), {})  # type: ignore[arg-type]
    assert [(r["kind"], r["step"], r["instance"]) for r in tape.records] == [
        ("reading", 1, 1),
        ("monitor-failed", 1, 2),
        ("reading", 2, 1),
        ("monitor-failed", 2, 2),
    ]
    (warning,) = tape.warnings
    said = "monitor saying #2 failed at step 1: ValueError: no idea; the run goes on without its readings"
    assert warning["message"] == said
    assert warning["traceback"].startswith("Traceback (most recent call last):\n")
    assert "in observe\n    raise self.says\n" in warning["traceback"]
    assert warning["traceback"].endswith("ValueError: no idea\n")


def test_a_monitor_that_reports_nan_is_recorded_as_it_is_and_said_so_once() -> None:
    tape = Heard()
    dispatch = Dispatch((Saying(says={"again": {"a": 1.0, "b": float("nan")}}),), (), tape)  # type: ignore[arg-type]
    for step in (3, 4):
        dispatch.emit(Updated(step, None, 1.0, 0.1), {})  # type: ignore[arg-type]
    assert [repr(r["values"]) for r in tape.records] == 2 * ["{'a': 1.0, 'b': nan}"]
    assert tape.warnings == [
        {"kind": "warning", "message": "monitor saying reported NaN as again of b at step 3; the run goes on"}
    ]
    plain = [json.loads(encode_record(record)) for record in tape.records]
    assert diagnose(plain).failures == {"saying": "NaN as again of b, first at step 3"}


def test_a_monitor_that_raises_after_it_reported_nan_is_told_of_again() -> None:
    class Worse(Saying):
        def observe(self, event: Event) -> Readings:
            return {"a": float("nan")} if event.step == 1 else {"a": 1 / 0}

    tape = Heard()
    dispatch = Dispatch((Worse(),), (), tape)  # type: ignore[arg-type]
    for step in (1, 2, 3):
        dispatch.emit(Updated(step, None, 1.0, 0.1), {})  # type: ignore[arg-type]
    assert ["traceback" in warning for warning in tape.warnings] == [False, True]


def test_the_failures_of_two_monitors_of_one_name_are_told_apart_in_the_diagnosis() -> None:
    records = recorded(Saying(says=ValueError("one")), Saying(says=KeyError("two")))
    found = diagnose(records)
    assert found.failures == {"saying #1": "ValueError: one", "saying #2": "KeyError: 'two'"}
    assert "## Monitors that failed, or reported NaN\n\n- saying #1: ValueError: one\n- saying #2: " in as_markdown(
        found
    )
