"""Movement: whether weights move at all, counted in rungs of their own grid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from altgrad_core import Monitor, Readings, Updated, Weight, hookimpl


class Flips(Monitor):
    """Flips, updates, flip rate and stall ratio of every quantized weight, counted at every step.

    An update is an element with a non-zero gradient; a flip is one whose nearest rung differs after the step, both
    sides at the scale in force when the step was taken. A report covers all steps since the last one:

    - `flips`, `updates`: exact totals of all steps that were looked at.
    - `flip-rate`: flips per element and step.
    - `stall-ratio`: 1 - (flips among updates) / updates; 0 without updates.
    """

    name: ClassVar = "flips"
    needs: ClassVar = frozenset({"rungs"})
    reports: ClassVar = ("flips", "updates", "flip-rate", "stall-ratio")
    sees_every_step: ClassVar = True

    _totals: dict[str, list[int]] = {}
    _since_report: dict[str, list[int]] = {}

    def observe(self, event: Updated) -> Readings:
        """Count this step; report if it is due."""
        from altgrad_movement.counts import count_movement

        for weight in event.weights(self.layers):
            before, after, gradient = weight.rungs_before, weight.rungs_after, weight.gradient
            if before is not None and after is not None and gradient is not None:
                self._add(weight, count_movement(before, after, gradient))
        return self._report() if self.is_due(event.step) else {}

    def _add(self, weight: Weight, counts: tuple[int, int, int]) -> None:
        flips, updates, moved_updates = counts
        elements = weight.after.numel()
        totals = self._totals.setdefault(weight.path, [0, 0])
        window = self._since_report.setdefault(weight.path, [0, 0, 0, 0])
        for counters, amounts in ((totals, (flips, updates)), (window, (flips, updates, moved_updates, elements))):
            for index, amount in enumerate(amounts):
                counters[index] += amount

    def _report(self) -> Readings:
        window, self._since_report = self._since_report, {}
        return {
            "flips": {path: self._totals[path][0] for path in window},
            "updates": {path: self._totals[path][1] for path in window},
            "flip-rate": {path: flips / elements for path, (flips, _, _, elements) in window.items()},
            "stall-ratio": {
                path: 1 - moved / updates if updates else 0.0 for path, (_, updates, moved, _) in window.items()
            },
        }


@hookimpl
def altgrad_monitors() -> Iterable[type[Monitor]]:
    """The monitors of this package."""
    yield Flips
