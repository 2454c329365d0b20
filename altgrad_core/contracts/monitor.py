"""A monitor turns tensors into numbers; it is given nothing it could change."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt

from altgrad_core.contracts.events import Began, Ended, Event, Updated
from altgrad_core.contracts.options import Stateful
from altgrad_core.contracts.reading import Reading

Readings = dict[str, Any]
"""`{layer: number}`, or `{reading: {layer: number}}` for a monitor with several readings. `"*"`: the whole model."""

Need = Literal["before", "rungs"]


class Monitor(Stateful):
    """Observes one kind of event and reports readings.

    A subclass sets `name` and writes `observe`. Private attributes are its state, saved and restored with the run.
    It must not draw random numbers from a shared generator and must not write to any tensor it is given.

    Attributes:
        on: the event it observes.
        needs: snapshots it wants: `before` (weights before the step), `rungs` (nearest rungs before the step).
        reports: its readings, each a `Reading` or a bare name; by default one of its own name.
        sees_every_step: whether it is shown every step; `every` then only paces the reports. `observe` is told by
            the event, and returns an empty dict when there is nothing to report.
        reads_grids: whether it needs the grids of weights; it is refused where they have none of their own, as after a
            Hadamard transform.
        every: steps from one report to the next, counted from step 0.
        start, end: first and last step it looks at; no end by default.
        layers: the layers it looks at, a pattern such as `blocks.*`; several separated by `|`.
    """

    on: ClassVar[type[Event]] = Updated
    needs: ClassVar[frozenset[Need]] = frozenset()
    reports: ClassVar[tuple[Reading | str, ...]] = ()
    sees_every_step: ClassVar[bool] = False
    reads_grids: ClassVar[bool] = False

    every: PositiveInt = 1
    start: NonNegativeInt = 0
    end: NonNegativeInt | None = None
    layers: str = "*"

    @abstractmethod
    def observe(self, event: Any) -> Readings:
        """The readings of one event."""

    @classmethod
    def declared(cls) -> tuple[Reading, ...]:
        """The readings that its class declares."""
        return tuple(r if isinstance(r, Reading) else Reading(r) for r in cls.reports or (cls.name,))

    def readings(self) -> tuple[str, ...]:
        """The names of what it reports; they may depend on its options."""
        return tuple(reading.name for reading in self.declared())

    def facts(self) -> tuple[Reading, ...]:
        """What is known of each of its readings."""
        known = {reading.name: reading for reading in self.declared()}
        return tuple(known.get(name, Reading(name)) for name in self.readings())

    def names_formats(self) -> Iterable[str]:
        """The formats it looks at by name; each must be installed."""
        return ()

    def begins(self, reading: str, steps: int) -> int:
        """The first step at which it may report this reading in a run of so many steps; by default `start`."""
        return self.start

    def is_active(self, step: int) -> bool:
        """Whether `step` lies between `start` and `end`."""
        return self.start <= step and (self.end is None or step <= self.end)

    def is_due(self, step: int) -> bool:
        """Whether it reports at `step`."""
        return self.is_active(step) and step % self.every == 0

    def is_shown(self, step: int) -> bool:
        """Whether it observes `step`; the beginning and the end of a run are no matter of `every`."""
        is_unpaced = self.sees_every_step or self.on in (Began, Ended)
        return self.is_active(step) if is_unpaced else self.is_due(step)
