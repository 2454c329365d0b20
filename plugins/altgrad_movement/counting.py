"""Monitors that count movement at every step: flips, updates without effect, reversals."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from altgrad_core import Monitor, Readings, Updated


class Flips(Monitor):
    """Flips, updates, flip rate and stall ratio of every quantized weight, counted at every step.

    An update is an element with a non-zero gradient; a flip is one whose nearest rung differs after the step, both
    sides at the scale in force when the step was taken. A weight with a NaN is left out while it has one. A report
    covers all steps since the last one; those of an epoch are differences of totals:

    - `flips`, `updates`: exact totals of all steps that were looked at.
    - `flip-rate`: flips per element and step.
    - `stall-ratio`: 1 - (flips among updates) / updates; 0 without updates.
    """

    name: ClassVar = "flips"
    needs: ClassVar = frozenset({"rungs"})
    reports: ClassVar = ("flips", "updates", "flip-rate", "stall-ratio")
    sees_every_step: ClassVar = True

    _totals: dict[str, list[int]] = {}
    _window: dict[str, Any] = {}

    def observe(self, event: Updated) -> Readings:
        """Count this step; report if it is due."""
        from altgrad_movement.counts import add, count_movement

        for weight in event.weights(self.layers):
            before, after, gradient = weight.rungs_before, weight.rungs_after, weight.gradient
            if before is not None and after is not None and gradient is not None:
                add(self._window, weight.path, count_movement(before, after, gradient=gradient, weight=weight.after))
        return self._report() if self.is_due(event.step) else {}

    def _report(self) -> Readings:
        from altgrad_movement.counts import as_integers

        window, self._window = as_integers(self._window), {}
        _add_totals(self._totals, window)
        return {
            "flips": {path: self._totals[path][0] for path in window},
            "updates": {path: self._totals[path][1] for path in window},
            "flip-rate": {path: flips / elements for path, (flips, _, _, elements) in window.items()},
            "stall-ratio": {
                path: 1 - moved / updates if updates else 0.0 for path, (_, updates, moved, _) in window.items()
            },
        }


class Updates(Monitor):
    """Updates without effect, of every quantized weight: those the grid hides and those float32 hides.

    An update is an element with a non-zero gradient. A weight with a NaN is left out while it has one. A report covers
    all steps since the last one; rates are absent without updates:

    - `zero-update-fraction`: the share of updates after which the float weight is what it was.
    - `bit-stall-rate`: the share of updates after which the nearest rung is what it was, at the scale in force when
      the step was taken; the stall ratio of `flips`.
    - `bit-stalls`: the exact total of these, of all steps that were looked at.
    """

    name: ClassVar = "updates"
    needs: ClassVar = frozenset({"before", "rungs"})
    reports: ClassVar = ("zero-update-fraction", "bit-stalls", "bit-stall-rate")
    sees_every_step: ClassVar = True

    _totals: dict[str, list[int]] = {}
    _window: dict[str, Any] = {}

    def observe(self, event: Updated) -> Readings:
        """Count this step; report if it is due."""
        from altgrad_movement.counts import add, count_stalls

        for weight in event.weights(self.layers):
            before, after, gradient = weight.rungs_before, weight.rungs_after, weight.gradient
            if before is not None and after is not None and gradient is not None and weight.before is not None:
                weights = (weight.before, weight.after)
                add(self._window, weight.path, count_stalls(before, after, gradient=gradient, weights=weights))
        return self._report() if self.is_due(event.step) else {}

    def _report(self) -> Readings:
        from altgrad_movement.counts import as_integers

        window, self._window = as_integers(self._window), {}
        _add_totals(self._totals, window)
        updated = {path: counts for path, counts in window.items() if counts[2]}
        return {
            "zero-update-fraction": {path: unchanged / updates for path, (_, unchanged, updates, _) in updated.items()},
            "bit-stalls": {path: self._totals[path][0] for path in window},
            "bit-stall-rate": {path: stalls / updates for path, (stalls, _, updates, _) in updated.items()},
        }


class Reversals(Monitor):
    """Flips that oppose the last flip of the same element: oscillation, of every quantized weight.

    Direction is up or down the rungs, at the scale in force when each step was taken (Nagel et al. 2022,
    arXiv 2203.11086). One int8 a weight is kept. A weight with a NaN is left out while it has one. A report covers all
    steps since the last one:

    - `reversals`: the exact total of all steps that were looked at.
    - `reversal-rate`: reversals per element and step.
    - `reversal-share`: reversals / flips of elements that had flipped before; absent without such flips.
    - `oscillating`: the share of elements that have reversed `at_least` so many times since the start.
    """

    name: ClassVar = "reversals"
    needs: ClassVar = frozenset({"rungs"})
    reports: ClassVar = ("reversals", "reversal-rate", "reversal-share", "oscillating")
    sees_every_step: ClassVar = True

    at_least: Annotated[int, Field(ge=1, le=126)] = 3

    _totals: dict[str, list[int]] = {}
    _window: dict[str, Any] = {}
    _histories: dict[str, Any] = {}

    def observe(self, event: Updated) -> Readings:
        """Count this step; report if it is due."""
        from altgrad_movement.counts import add, count_reversals

        for weight in event.weights(self.layers):
            path, before, after = weight.path, weight.rungs_before, weight.rungs_after
            if before is not None and after is not None:
                history = self._histories.get(path)
                counts, self._histories[path] = count_reversals(before, after, history=history, weight=weight.after)
                add(self._window, path, counts)
        return self._report() if self.is_due(event.step) else {}

    def _report(self) -> Readings:
        from altgrad_movement.counts import as_integers, shares_reversed

        window, self._window = as_integers(self._window), {}
        _add_totals(self._totals, window)
        histories = {path: self._histories[path] for path in window}
        return {
            "reversals": {path: self._totals[path][0] for path in window},
            "reversal-rate": {path: reversals / elements for path, (reversals, _, elements) in window.items()},
            "reversal-share": {path: counts[0] / counts[1] for path, counts in window.items() if counts[1]},
            "oscillating": shares_reversed(histories, times=self.at_least),
        }


def _add_totals(totals: dict[str, list[int]], window: dict[str, list[int]]) -> None:
    """Add the counts of a window to the totals of each layer, which are Python integers: exact, however many."""
    for path, counts in window.items():
        earlier = totals.get(path, [0] * len(counts))
        totals[path] = [total + count for total, count in zip(earlier, counts, strict=True)]
