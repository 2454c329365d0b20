"""Monitors that count movement at every step: flips, updates without effect, reversals."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from altgrad_core import Monitor, Reading, Readings, Updated


class Flips(Monitor):
    """Flips, updates, flip rate and stall ratio of every quantized weight.

    They are counted at every step.

    An update is an element with a non-zero gradient; a flip is one whose nearest rung differs after the step, both
    sides at the scale in force when the step was taken. A weight with a NaN is left out while it has one. A report
    covers all steps since the last one:

    - `flips`, `updates`: exact totals of all steps that were looked at.
    - `flip-rate`: flips per element and step.
    - `stall-ratio`: 1 - (flips among updates) / updates; 0 without updates.
    - `epoch-flips`, `epoch-updates`, `epoch-flip-rate`: the same of the last whole epoch, at the first report after its
      end; a step belongs to the epoch that it ends in. Of an epoch that was not looked at from its first step on,
      nothing.
    """

    name: ClassVar = "flips"
    needs: ClassVar = frozenset({"before"})
    reads_grids: ClassVar = True
    reports: ClassVar = (
        "flips",
        "updates",
        Reading("flip-rate", unit="share"),
        Reading("stall-ratio", "share of updates that change no code", "share", worse="up", limit=0.5, chart="heat"),
        "epoch-flips",
        "epoch-updates",
        Reading("epoch-flip-rate", unit="share"),
    )
    sees_every_step: ClassVar = True

    _totals: dict[str, list[int]] = {}
    _window: dict[str, Any] = {}  # of the steps that are in no total yet
    _reported: dict[str, list[int]] = {}  # the totals at the last report
    _epoch: int | None = None  # the epochs that had ended
    _epoch_began: dict[str, list[int]] | None = None  # the totals when this one began, if that was seen
    _last_epoch: dict[str, list[int]] = {}  # counts that are still to be reported

    def observe(self, event: Updated) -> Readings:
        """Count this step; report if it is due."""
        from altgrad_movement.counts import add

        if self._epoch is None:
            self._epoch, self._epoch_began = 0, {} if event.step == 1 else None
        for weight in event.weights(self.layers):
            before, gradient, geometry = weight.before, weight.gradient, weight.geometry
            if before is not None and gradient is not None and geometry is not None:
                add(self._window, weight.path, geometry.movement(before, weight.after, gradient))
        if int(event.epochs) != self._epoch:
            self._end_epoch(int(event.epochs))
        return self._report() if self.is_due(event.step) else {}

    def _end_epoch(self, epoch: int) -> None:
        self._add_up()
        if self._epoch_began is not None:
            self._last_epoch = _since(self._epoch_began, self._totals)
        self._epoch, self._epoch_began = epoch, dict(self._totals)

    def _add_up(self) -> None:
        from altgrad_movement.counts import as_integers

        window, self._window = as_integers(self._window), {}
        _add_totals(self._totals, window)

    def _report(self) -> Readings:
        self._add_up()
        window, self._reported = _since(self._reported, self._totals), dict(self._totals)
        epoch, self._last_epoch = self._last_epoch, {}
        readings = {
            "flips": {path: self._totals[path][0] for path in window},
            "updates": {path: self._totals[path][1] for path in window},
            "flip-rate": _flip_rates(window),
            "stall-ratio": {
                path: 1 - moved / updates if updates else 0.0 for path, (_, updates, moved, _) in window.items()
            },
        }
        if not epoch:
            return readings
        return readings | {
            "epoch-flips": {path: flips for path, (flips, *_) in epoch.items()},
            "epoch-updates": {path: updates for path, (_, updates, *_) in epoch.items()},
            "epoch-flip-rate": _flip_rates(epoch),
        }


class Updates(Monitor):
    """Updates without effect, lost to the grid or to float32 rounding.

    An update is an element with a non-zero gradient. A weight with a NaN is left out while it has one. A report covers
    all steps since the last one; rates are absent without updates:

    - `zero-update-fraction`: the share of updates after which the float weight is what it was.
    - `bit-stall-rate`: the share of updates after which the nearest rung is what it was, at the scale in force when
      the step was taken; the stall ratio of `flips`.
    - `bit-stalls`: the exact total of these, of all steps that were looked at.
    """

    name: ClassVar = "updates"
    needs: ClassVar = frozenset({"before", "rungs"})
    reports: ClassVar = (
        Reading("zero-update-fraction", unit="share", worse="up"),
        "bit-stalls",
        Reading("bit-stall-rate", unit="share", worse="up"),
    )
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
    """Oscillation of quantized weights: flips that reverse the previous flip.

    Direction is up or down the rungs, at the scale in force when each step was taken (Nagel et al. 2022,
    arXiv 2203.11086). One int8 a weight is kept. A weight with a NaN is left out while it has one. A report covers all
    steps since the last one:

    - `reversals`: the exact total of all steps that were looked at.
    - `reversal-rate`: reversals per element and step.
    - `reversal-share`: reversals / flips of elements that had flipped before; absent without such flips.
    - `oscillating`: the share of elements that have reversed `at_least` so many times since the start.

    Options:
        at_least: reversals from which on an element oscillates.
    """

    name: ClassVar = "reversals"
    needs: ClassVar = frozenset({"rungs"})
    reports: ClassVar = (
        "reversals",
        Reading("reversal-rate", unit="share"),
        Reading("reversal-share", "share of flips that are reversals", "share"),
        Reading("oscillating", "share of elements that oscillate", "share", worse="up"),
    )
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


def _since(earlier: dict[str, list[int]], totals: dict[str, list[int]]) -> dict[str, list[int]]:
    """What was added to the totals of each layer; layers of which no element was counted are left out."""
    added = {
        path: [now - then for now, then in zip(counts, earlier.get(path, [0] * len(counts)), strict=True)]
        for path, counts in totals.items()
    }
    return {path: counts for path, counts in added.items() if counts[-1]}


def _flip_rates(counts: dict[str, list[int]]) -> dict[str, float]:
    """Flips per element and step, by layer."""
    return {path: flips / elements for path, (flips, _, _, elements) in counts.items()}
