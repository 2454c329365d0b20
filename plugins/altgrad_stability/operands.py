"""The monitor of every quantized operand: by-products of rounding, made readings."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, PositiveInt

from altgrad_core import ROLES, Backpropagated, Monitor, Reading, Readings, RoundedOperand, Tally

STATISTICS = (
    "overflow-rate",
    "underflow-rate",
    "nan-count",
    "infinite-count",
    "amax",
    "amax-average",
    "scale",
    "headroom",
)
UNDERFLOW_LIMITS = {
    "gradient": 0.1,
    "gradient_for_weight_gradient": 0.1,
    "score_gradient": 0.1,
    "output_gradient": 0.1,
    "probability": None,
}
UNDERFLOW_LIMIT = 0.3  # of other roles; of probabilities most are near zero, and none the worse for it
MOST_WAITING = 100  # steps whose amaxes are kept on their device until they are fetched


def declared(role: str, statistic: str) -> Reading:
    """What is known of one statistic of the operands of a role."""
    name, elements = f"{role}-{statistic}", f"{role.replace('_', ' ')} elements"
    if statistic == "overflow-rate":
        return Reading(name, f"share of {elements} clipped", "share", worse="up", limit=0.001, chart="heat")
    if statistic == "underflow-rate":
        what, limit = f"share of {elements} rounded to zero", UNDERFLOW_LIMITS.get(role, UNDERFLOW_LIMIT)
        return Reading(name, what, "share", worse="up", limit=limit, chart="heat")
    if statistic in ("nan-count", "infinite-count"):
        return Reading(name, worse="up", limit=0.0 if statistic == "nan-count" else None)
    return Reading(name, unit="binades" if statistic == "headroom" else "")


class Stability(Monitor):
    """Overflow, underflow, NaN, infinities, amax and scale of every quantized operand, by role.

    By-products of the rounding of the step's training passes, all micro-batches together; no tensor is touched. Of each
    role (`weight`, `activation`, the input, `gradient`, of the output, and those of attention), these readings:

    - `ROLE-overflow-rate`: elements beyond the ends of the grid after scaling, infinities among them, per element.
    - `ROLE-underflow-rate`: non-zero elements that were rounded to zero, per element (zeros count as elements).
    - `ROLE-nan-count`, `ROLE-infinite-count`: how many, before rounding.
    - `ROLE-amax`: the largest finite magnitude, 0 where there is none.
    - `ROLE-amax-average`: m <- m + (1 - decay) * (amax - m), at every step whatever `every` is; m begins as the
      first amax.
    - `ROLE-scale`: that of the last pass; of rows or blocks the largest.
    - `ROLE-headroom`: log2(scale * largest / amax), the binades between amax and the end of the grid at the scale of
      the last pass: from 0 to 1 where scales are rounded up, below 0 where values overflow. Absent where amax is 0.

    Options:
        decay: of `ROLE-amax-average`: how much of the average stays at every step.
    """

    name: ClassVar = "stability"
    on: ClassVar = Backpropagated
    reports: ClassVar = tuple(declared(role, statistic) for role in ROLES for statistic in STATISTICS)
    sees_every_step: ClassVar = True

    every: PositiveInt = 10
    decay: float = Field(default=0.99, ge=0, lt=1)
    _averages: dict[str, dict[str, float]] = {}
    _waiting: list[tuple[list[tuple[str, str]], Any]] = []  # roles and paths, and amaxes, of steps in no average yet

    def observe(self, event: Backpropagated) -> Readings:
        """Keep what the averages follow; report if it is due. A GPU is not waited for in the steps between."""
        from altgrad_stability.tallies import together

        seen = [(facts, facts.tally) for facts in event.operands(self.layers) if facts.tally is not None]
        if seen:
            names: list[tuple[str, str]] = [(facts.role, facts.path) for facts, _ in seen]
            self._waiting.append((names, together([tally.amax for _, tally in seen])))
        if len(self._waiting) >= MOST_WAITING:
            self._follow()
        return self._report(seen) if self.is_due(event.step) else {}

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`."""
        self._follow()
        return super().state_dict()

    def _follow(self) -> None:
        from altgrad_stability.tallies import fetched_rows

        waiting, self._waiting = self._waiting, []
        for (names, _), amaxes in zip(waiting, fetched_rows([amaxes for _, amaxes in waiting]), strict=True):
            for (role, path), amax in zip(names, amaxes, strict=True):
                averages = self._averages.setdefault(role, {})
                average = averages.get(path, amax)
                averages[path] = average + (1 - self.decay) * (amax - average)

    def _report(self, seen: list[tuple[RoundedOperand, Tally]]) -> Readings:
        from altgrad_stability.tallies import headroom, plain

        self._follow()
        roles = dict.fromkeys(facts.role for facts, _ in seen)
        readings: dict[str, dict[str, float]] = {f"{role}-{name}": {} for role in roles for name in STATISTICS}
        table = plain([[*tally[1:], facts.scale.max()] for facts, tally in seen])
        for (facts, tally), (amax, overflow, underflow, nan, infinite, scale) in zip(seen, table, strict=True):
            found = {
                "overflow-rate": overflow / tally.elements if tally.elements else None,
                "underflow-rate": underflow / tally.elements if tally.elements else None,
                "nan-count": int(nan),
                "infinite-count": int(infinite),
                "amax": amax,
                "amax-average": self._averages[facts.role][facts.path],
                "scale": scale,
                "headroom": headroom(amax, scale=scale, largest=facts.format.largest),
            }
            for statistic, number in found.items():
                if number is not None:
                    readings[f"{facts.role}-{statistic}"][facts.path] = number
        return readings
