"""From an event to readings, from readings to actions: monitors look, interventions decide."""

from __future__ import annotations

import reprlib
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from altgrad_core.contracts.actions import Action
from altgrad_core.contracts.events import WHOLE_MODEL, Event
from altgrad_core.contracts.intervention import Intervention
from altgrad_core.contracts.monitor import Monitor
from altgrad_core.errors import RunError, reason_of
from altgrad_core.records.sinks import Sink
from altgrad_core.running.loop.untouched import Untouched

Values = dict[str, float | int]


class Decision(NamedTuple):
    """An action, the intervention that asked for it, the event at which it did, and what tells it from its like."""

    intervention: Intervention
    action: Action
    event: str
    instance: dict[str, int]


class Dispatch:
    """Shows every event to the monitors that are due and every new reading to the interventions that read it.

    Args:
        weights: by name, what no monitor may write to, nor to its gradient.
        is_strict: whether a monitor that does so ends the run; else it is said, once.
    """

    def __init__(
        self,
        monitors: Sequence[Monitor],
        interventions: Sequence[Intervention],
        records: Sink,
        *,
        weights: Mapping[str, Tensor] | None = None,
        is_strict: bool = False,
    ) -> None:
        self.monitors, self.interventions = tuple(monitors), tuple(interventions)
        self._records = records
        self._instances = {**_instances(self.monitors), **_instances(self.interventions)}
        self._untouched, self._is_strict = Untouched(weights or {}, always=is_strict), is_strict
        self._warned: set[tuple[int, str]] = set()

    def shown(self, kind: type[Event], step: int) -> list[Monitor]:
        """The monitors that will be shown the event of this kind at this step."""
        return [monitor for monitor in self.monitors if monitor.on is kind and monitor.is_shown(step)]

    def emit(self, event: Event, own: dict[str, float]) -> list[Decision]:
        """Record the readings of an event; the actions that interventions decide on, in manifest order.

        Args:
            own: readings of the run itself, for the whole model.
        """
        self._untouched.forget()
        readings: list[tuple[str, Values]] = [(name, {WHOLE_MODEL: value}) for name, value in own.items()]
        seen = [(monitor, self._observed(monitor, event)) for monitor in self.shown(type(event), event.step)]
        fetch = Fetch(value for _, result in seen if type(result) is dict for value in _values(result))
        for monitor, result in seen:
            for name, values in self._plain(monitor, result, fetch, event.step).items():
                self._records.happened(self._record("reading", monitor, event.step, reading=name, values=values))
                readings.append((name, values))
        return [
            Decision(intervention, action, type(event).__name__, self._instances[id(intervention)])
            for intervention in self.interventions
            for readings_due in _due(intervention, readings)
            for action in self._decided(intervention, event.step, readings_due)
        ]

    def _observed(self, monitor: Monitor, event: Event) -> Any:
        """What a monitor returned, or what it raised; one that wrote to a weight or a gradient is named, or ends the run."""
        before = self._untouched.before(id(monitor))
        result: Any
        try:
            result = monitor.observe(event)
        except BaseException as error:  # code of a plugin
            result = error
        if names := self._untouched.written(before):
            self._tell_what_it_wrote_to(monitor, event.step, names)
        return result

    def _tell_what_it_wrote_to(self, monitor: Monitor, step: int, names: Sequence[str]) -> None:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        message = f"wrote to {names[0]}{more} at step {step}; a monitor only looks"
        if self._is_strict:
            raise RunError(
                f"monitor {self._called(monitor)} {message}, and run.strict stops the run; remove this monitor"
            )
        self._warn_once(monitor, "wrote", f"{message}: from here on the run is no longer that of its manifest")

    def _plain(self, monitor: Monitor, result: Any, fetch: Fetch, step: int) -> dict[str, Values]:
        """The readings of one monitor in plain numbers; one that failed is recorded and the run goes on."""
        try:
            if isinstance(result, BaseException):
                raise result
            readings = dict(_by_reading(monitor, result, fetch))
        except BaseException as error:  # code of a plugin: its failure is a record, and signals raise nothing here
            reason = reason_of(error)
            self._records.happened(self._record("monitor-failed", monitor, step, reason=reason))
            message = f"failed at step {step}: {reason}; the run goes on without its readings"
            self._warn_once(monitor, "raised", message, traceback="".join(traceback.format_exception(error)))
            return {}
        for name, layer in _not_a_number(readings):
            self._warn_once(
                monitor, "reported NaN", f"reported NaN as {name} of {layer} at step {step}; the run goes on"
            )
        return readings

    def _record(self, kind: str, monitor: Monitor, step: int, **more: Any) -> dict[str, Any]:
        """A record about a monitor, which has a number where several in the manifest have its name."""
        return {"kind": kind, "step": step, "monitor": monitor.name, **self._instances[id(monitor)], **more}

    def _warn_once(self, monitor: Monitor, what: str, message: str, **more: str) -> None:
        """Say what is wrong with a monitor, the first time in this process that it is wrong in this way."""
        key = (id(monitor), what)
        if key in self._warned:
            return
        self._warned.add(key)
        self._records.noticed({"kind": "warning", "message": f"monitor {self._called(monitor)} {message}", **more})

    def _called(self, monitor: Monitor) -> str:
        """The name of a monitor, with its number where several in the manifest have that name."""
        return monitor.name + "".join(f" #{instance}" for instance in self._instances[id(monitor)].values())

    @staticmethod
    def _decided(intervention: Intervention, step: int, readings_due: dict[str, Any]) -> list[Action]:
        try:
            actions = list(intervention.decide(step, readings_due) or ())
        except BaseException as error:  # a guard that cannot decide must not be passed over
            message = f"intervention {intervention.name} failed at step {step}: {reason_of(error)}"
            raise RunError(message) from error
        for action in actions:
            if not isinstance(action, intervention.acts):
                declared = ", ".join(kind.__name__ for kind in intervention.acts) or "nothing"
                raise RunError(
                    f"intervention {intervention.name} yielded {action!r} at step {step}; it declares to act with {declared}"
                )
        return actions


class Fetch:
    """Plain numbers of tensors that hold one element each, brought from each device in one transfer for each type."""

    def __init__(self, values: Iterable[Any]) -> None:
        kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for value in values:
            if type(value) is Tensor and value.numel() == 1 and value.layout is torch.strided:
                kinds.setdefault((value.device, value.dtype), []).append(value)
        self._numbers: dict[int, Any] = {}
        self._tensors = kinds  # which keeps them alive, and so their identities
        for (device, _), tensors in kinds.items():
            if device.type != "meta":
                numbers = torch.stack([tensor.detach().reshape(()) for tensor in tensors]).tolist()
                self._numbers.update(zip(map(id, tensors), numbers, strict=True))

    def number(self, value: Any) -> float | int:
        """The plain number that `value` is; an int stays one."""
        if isinstance(value, Tensor):
            value = self._numbers[id(value)] if id(value) in self._numbers else value.item()
        exact = float(value)  # an int may be too large for one
        return int(value) if isinstance(value, int) else exact


def _instances(members: Sequence[Monitor] | Sequence[Intervention]) -> dict[int, dict[str, int]]:
    """By identity, what tells a member from others of its name: its place among them, where there are others."""
    of_name, seen = Counter(member.name for member in members), Counter[str]()
    result: dict[int, dict[str, int]] = {}
    for member in members:
        seen[member.name] += 1
        result[id(member)] = {"instance": seen[member.name]} if of_name[member.name] > 1 else {}
    return result


def _due(intervention: Intervention, readings: Sequence[tuple[str, Values]]) -> Iterator[dict[str, Any]]:
    """What an intervention is asked about: each new reading that it reads, or those of several together."""
    if isinstance(intervention.reads, str):
        yield from (dict(values) for name, values in readings if name == intervention.reads)
        return
    together: dict[str, Any] = {}
    for name, values in readings:
        if name in intervention.reads:
            together.setdefault(name, {}).update(values)
    if together:
        yield together


def _not_a_number(readings: dict[str, Values]) -> Iterator[tuple[str, str]]:
    """The reading and the layer of every NaN."""
    for name, values in readings.items():
        yield from ((name, layer) for layer, value in values.items() if value != value)


def _values(observed: dict[Any, Any]) -> Iterator[Any]:
    for value in observed.values():
        yield from value.values() if type(value) is dict else (value,)


def _by_reading(monitor: Monitor, observed: Any, fetch: Fetch) -> Iterator[tuple[str, Values]]:
    """`observe`'s result as reading and plain numbers by layer, whichever of its two shapes it has."""
    if not isinstance(observed, dict):
        raise TypeError(f"observe returned {reprlib.repr(observed)}; expected a dict")
    names = monitor.readings()
    nested = observed if any(isinstance(value, dict) for value in observed.values()) else {names[0]: observed}
    for name, values in nested.items():
        if name not in names:
            raise ValueError(f'observe returned the reading "{name}"; it reports {", ".join(names)}')
        if values:
            yield name, {str(layer): _number(fetch, name, layer, value) for layer, value in values.items()}


def _number(fetch: Fetch, name: str, layer: object, value: Any) -> float | int:
    try:
        return fetch.number(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f'observe returned no number as "{name}" of layer "{layer}": {error}') from error
