"""Guards that move layers to other formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

from altgrad_core import Action, Intervention, SwitchFormat
from altgrad_guards.chosen import chosen, may_overlap
from altgrad_guards.streaks import continued


class WidenStalled(Intervention):
    """Move a layer to another format once its codes stop changing.

    Reads `flip-rate` of monitor `flips`.

    Options:
        to: the format of its weight from then on.
        below: the flip rate of a quiet reading.
        patience: quiet readings in a row.
        layers: those it looks at; several patterns separated by `|`.
    """

    name: ClassVar = "widen-stalled"
    reads: ClassVar = "flip-rate"
    acts: ClassVar = (SwitchFormat,)

    to: str
    below: PositiveFloat = 1e-3
    patience: PositiveInt = 20
    layers: str = "*"
    _quiet: Counter[str] = Counter()

    def contradicts(self, other: Intervention) -> str | None:
        """Two of one condition, to different formats."""
        if not isinstance(other, WidenStalled) or not may_overlap(self.layers, other.layers):
            return None
        is_same = (self.below, self.patience) == (other.below, other.patience)
        return _to_both(self.to, other.to) if is_same and self.to != other.to else None

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Count quiet readings by layer."""
        for layer, rate in chosen(readings, self.layers):
            if continued(self._quiet, layer, rate < self.below, patience=self.patience):
                because = f"flip rate < {self.below:g} for {self.patience} readings"
                yield SwitchFormat(layer=layer, to=self.to, because=because)


class EmergencyShift(Intervention):
    """Move a layer or the model along a chain of formats on alarm.

    It acts once a reading stays above a limit.

    Options:
        on: the reading: `stall-ratio` of monitor `flips`, or a count of NaN by monitor `stability`.
        above: the limit; by default 0.5 for `stall-ratio`, and 0 for counts.
        patience: readings in a row.
        chain: the next format for each present one. A layer whose format is not in it stays.
        layers: those it looks at; several patterns separated by `|`.
        whole_model: shift every layer as soon as one is in trouble.
    """

    name: ClassVar = "emergency-shift"
    acts: ClassVar = (SwitchFormat,)

    on: Literal["stall-ratio", "weight-nan-count", "activation-nan-count", "gradient-nan-count"] = "stall-ratio"
    above: NonNegativeFloat | None = None
    patience: PositiveInt = 3
    chain: dict[str, str] = {"e7m0": "e5m2", "e1m6": "e3m4", "e0m7": "e3m4", "e3m4": "e5m2"}
    layers: str = "*"
    whole_model: bool = False
    _troubled: Counter[str] = Counter()

    @property
    def reads(self) -> str:  # type: ignore[override]
        """The reading of `on`."""
        return self.on

    @field_validator("chain")
    @classmethod
    def _has_an_end(cls, chain: dict[str, str]) -> dict[str, str]:
        chain = {before.lower(): after.lower() for before, after in chain.items()}
        if (circle := _circle([chain])) is not None:
            raise ValueError(f"has a cycle: {' -> '.join(circle)}; let it end")
        return chain

    @property
    def limit(self) -> float:
        """What the reading must exceed."""
        default = 0.5 if self.on == "stall-ratio" else 0.0
        return default if self.above is None else self.above

    @property
    def role(self) -> Literal["weight", "activation", "gradient"]:
        """The operand that is shifted."""
        return "weight" if self.on == "stall-ratio" else self.on.removesuffix("-nan-count")  # type: ignore[return-value]

    def contradicts(self, other: Intervention) -> str | None:
        """Chains of one operand that go in a circle, or that lead apart at the same moment."""
        if not isinstance(other, EmergencyShift) or other.role != self.role:
            return None
        if not may_overlap(self.layers, other.layers):
            return None
        if (circle := _circle([self.chain, other.chain])) is not None:
            return f"together their chains have a cycle: {' -> '.join(circle)}; let them end"
        if (self.on, self.limit, self.patience) != (other.on, other.limit, other.patience):
            return None
        apart = next((at for at in self.chain if other.chain.get(at, self.chain[at]) != self.chain[at]), None)
        return None if apart is None else _to_both(self.chain[apart], other.chain[apart], of=apart)

    def names_formats(self) -> Iterable[str]:
        """Every format of the chain."""
        return dict.fromkeys([*self.chain, *self.chain.values()])

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Count readings above the limit by layer."""
        troubled = [
            layer
            for layer, value in chosen(readings, self.layers)
            if continued(self._troubled, layer, value > self.limit, patience=self.patience)
        ]
        for layer in troubled:
            self._troubled[layer] = 0  # the next format gets its chance
            because = f"{self.on} of {layer} > {self.limit:g} for {self.patience} readings"
            shifted = "*" if self.whole_model else layer
            yield SwitchFormat(layer=shifted, to=self.chain, role=self.role, because=because)


def _circle(chains: list[dict[str, str]]) -> list[str] | None:
    """A way along these chains that comes back to where it has been, if there is one."""
    ending: set[str] = set()
    for first in (before for chain in chains for before in chain):
        way = [first]
        while way:
            afters = (chain[way[-1]] for chain in chains if way[-1] in chain)
            after = next((after for after in afters if after not in ending), None)
            if after is None:
                ending.add(way.pop())
            elif after in way:
                return [*way, after]
            else:
                way.append(after)
    return None


def _to_both(to: str, other: str, *, of: str = "") -> str:
    what = f" from {of}" if of else ""
    return (
        f"on the same condition it moves a layer{what} to {to}, and that one to {other}, which would always come first"
    )
