"""Guards that move layers to other formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

from altgrad_core import Action, Intervention, SwitchFormat
from altgrad_guards.streaks import continued


class WidenStalled(Intervention):
    """Move a layer to another format once its codes stop changing."""

    name: ClassVar = "widen-stalled"
    reads: ClassVar = "flip-rate"
    acts: ClassVar = (SwitchFormat,)

    to: str
    below: PositiveFloat = 1e-3
    patience: PositiveInt = 20
    _quiet: Counter[str] = Counter()

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Count quiet readings by layer."""
        for layer, rate in readings.items():
            if continued(self._quiet, layer, rate < self.below, patience=self.patience):
                because = f"flip rate < {self.below:g} for {self.patience} readings"
                yield SwitchFormat(layer=layer, to=self.to, because=because)


class EmergencyShift(Intervention):
    """Move a layer, or the whole model, to the next format of a chain once a reading stays above a limit.

    Options:
        on: the reading: `stall-ratio` of monitor `flips`, or a count of NaN by monitor `stability`.
        above: the limit; by default 0.5 for `stall-ratio`, and 0 for counts.
        patience: readings in a row.
        chain: the next format for each present one. A layer whose format is not in it stays.
        whole_model: shift every layer as soon as one is in trouble.
    """

    name: ClassVar = "emergency-shift"
    acts: ClassVar = (SwitchFormat,)

    on: Literal["stall-ratio", "weight-nan-count", "activation-nan-count", "gradient-nan-count"] = "stall-ratio"
    above: NonNegativeFloat | None = None
    patience: PositiveInt = 3
    chain: dict[str, str] = {"e7m0": "e5m2", "e1m6": "e3m4", "e0m7": "e3m4", "e3m4": "e5m2"}
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
        for first in chain:
            seen, at = [first], chain[first]
            while at in chain and at not in seen:
                seen.append(at)
                at = chain[at]
            if at in seen:
                raise ValueError(f"goes in a circle: {' -> '.join([*seen, at])}; let it end")
        return chain

    def names_formats(self) -> Iterable[str]:
        """Every format of the chain."""
        return dict.fromkeys([*self.chain, *self.chain.values()])

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Count readings above the limit by layer."""
        default = 0.5 if self.on == "stall-ratio" else 0.0
        limit = default if self.above is None else self.above
        troubled = [
            layer
            for layer, value in readings.items()
            if continued(self._troubled, layer, value > limit, patience=self.patience)
        ]
        for layer in troubled:
            self._troubled[layer] = 0  # the next format gets its chance
            because = f"{self.on} of {layer} > {limit:g} for {self.patience} readings"
            role = "weight" if self.on == "stall-ratio" else self.on.removesuffix("-nan-count")
            yield SwitchFormat(layer="*" if self.whole_model else layer, to=self.chain, role=role, because=because)  # type: ignore[arg-type]
