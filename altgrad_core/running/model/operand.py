"""One operand of one quantized layer: a quantizer with the scale, history and counts that belong to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor

from altgrad_core.contracts.actions import Role
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.numerics.quantizer import Quantizer, amax_of
from altgrad_core.numerics.random import derive_key
from altgrad_core.numerics.reference import finite_amax
from altgrad_core.numerics.scaling import spread
from altgrad_core.numerics.straight_through import Rounded, Rounds
from altgrad_core.numerics.tally import Quantized, Tally

Latest = tuple[Callable[[], Tensor | None], object, Rounds]  # a weight, the state it was in, and what rounds it


@dataclass(frozen=True)
class Passed:
    """An activation that was rounded, for the next layer that takes the same one: q, k and v, say."""

    x: Callable[[], Tensor | None]
    version: int
    how: Quantizer
    scale: Tensor | None  # that was given
    done: Quantized

    def serves(self, x: Tensor, how: Quantizer, scale: Tensor | None) -> bool:
        """Whether rounding `x` would give the same again."""
        is_same = self.x() is x and self.version == x._version and self.how == how
        if scale is None or self.scale is None:
            return is_same and scale is self.scale
        return is_same and torch.equal(self.scale, scale)


@dataclass
class Moment:
    """Where training stands; with the seed it names every random stream of the operands.

    `passed` is the last activation, until the step is over.
    """

    seed: int = 0
    phase: str = "train"
    step: int = 0
    micro_batch: int = 0
    passed: Passed | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "passed": None}


class Operand:
    """Quantizes one operand, at training time remembering what delayed scaling and monitors need.

    In evaluation (`training=False`) it reads the history and writes nothing.
    """

    def __init__(self, path: str, role: Role, quantizer: Quantizer, moment: Moment, device: torch.device) -> None:
        self.path, self.role, self.quantizer = path, role, quantizer
        self.scale = torch.ones((), dtype=torch.float32, device=device)
        self.tally: Tally | None = None
        self.geometry = Geometry(self)
        self._moment, self._tally_step = moment, -1
        self._is_fixed = False
        self._amax = torch.zeros((), dtype=torch.float32, device=device)
        self._shape: torch.Size = torch.Size()  # of the last tensor
        self._block: int | None = None
        self._history = torch.zeros(0, dtype=torch.float32, device=device)
        self._pending: Tensor | None = None
        self._latest: Latest | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_latest": None}  # a copy takes its scale anew; no weight is shared with it

    @property
    def format(self) -> Format:
        """The format in force."""
        return self.quantizer.target

    def rounds(self, *, training: bool) -> Rounds:
        """What rounds a tensor of this pass."""
        return partial(self._round, training=training)

    def rounds_once(self, weight: Tensor, *, training: bool) -> Rounds:
        """What rounds a weight in all passes of a step, backward ones too: the scale and the counts are taken once.

        They are taken anew when the weight, the step or the format is another.
        """
        state = (weight._version, weight.data_ptr(), self._moment.step, self._moment.phase, training, self.quantizer)
        if self._latest is None or self._latest[0]() is not weight or self._latest[1] != state:
            self._latest = ref(weight), state, self._first_rounds(training)
        return self._latest[2]

    def _first_rounds(self, training: bool) -> Rounds:
        """Rounds and takes notice of the first time; after that it repeats itself."""
        taken: list[Tensor] = []
        how, key = self.quantizer, self._key()

        def rounds(weight: Tensor) -> Rounded:
            if not taken:
                done = self._quantize(weight, training)
                taken.append(done.scale)
            else:
                done = how.quantize(weight.detach(), scale=taken[0], key=key)
            return done.values, self._passes(weight, done.scale)

        return rounds

    def _round(self, x: Tensor, *, training: bool) -> Rounded:
        done = self._quantize(x, training)
        return done.values, self._passes(x, done.scale)

    def _quantize(self, x: Tensor, training: bool) -> Quantized:
        looks_back = self.quantizer.scale_rule.kind == "delayed" and len(self._history) > 0
        scale = self.quantizer.scale_of(self._history.max()) if looks_back else None
        done = self._rounded(x, self.scale if self._is_fixed else scale)
        if training:
            self._remember(x, done)
        return done

    def _rounded(self, x: Tensor, scale: Tensor | None) -> Quantized:
        """Round a tensor, or take what another layer made of the same activation."""
        how, passed = self.quantizer, self._moment.passed
        is_shared = self.role == "activation" and how.rounding != "stochastic" and x.device.type == "cpu"
        if is_shared and passed is not None and passed.serves(x, how, scale):
            return passed.done
        if self.role == "gradient":
            self._moment.passed = None  # the backward pass wants its memory
        done = how.quantize(x.detach(), scale=scale, key=self._key())
        if is_shared:
            self._moment.passed = Passed(ref(x), x._version, how, scale, done)
        return done

    def _passes(self, x: Tensor, scale: Tensor) -> Tensor | None:
        bound = self.quantizer.clip_bound(x, scale)
        return None if bound is None else x.detach().abs() <= bound

    @property
    def scales(self) -> Tensor:
        """The scale in force of every element of the last tensor, by broadcasting where that will do."""
        return spread(self.scale, self._shape, self._block)

    def measure(self, x: Tensor) -> None:
        """Take the scale of `x` before any forward pass, so that the geometry is defined from the start."""
        self._shape, self._block = x.shape, self.quantizer.block_of(x)
        if not self.format.is_identity:
            self._amax = amax_of(x, self.format, self._block)
            self.scale = self.quantizer.scale_of(self._amax)

    def advance(self) -> None:
        """An optimizer step is over: its largest amax becomes one entry of the history."""
        if self._pending is not None:
            kept = self._history[-(self.quantizer.scale_rule.history - 1) :] if self._keeps_more else self._history[:0]
            self._history = torch.cat([kept.to(self._pending.device), self._pending.reshape(1)])
            self._pending = None

    def switch(self, format: Format) -> None:
        """Use another format, at the scale of the last amax until the next pass; the history stays valid."""
        self.quantizer = replace(self.quantizer, format=format)
        self._latest = None
        self.scale = self._fixed_scale() if self._is_fixed else self.quantizer.scale_of(self._amax)

    def fix_scale(self) -> None:
        """See `Geometry.fix_scale`."""
        self._is_fixed, self.scale = True, self._fixed_scale()
        self._latest = None

    def state_dict(self) -> dict[str, Any]:
        """The format in force, the scale, the history and the last counts, as plain data.

        Of activations and gradients the scales of blocks are left out: the next pass makes them anew.
        """
        is_kept = self.role == "weight" or self.scale.ndim == 0
        return {
            "format": self.format.facts(),
            "scale": self.scale.tolist() if is_kept else 1.0,
            "is_fixed": self._is_fixed,
            "amax": self._amax.tolist() if is_kept else 0.0,
            "history": self._history.tolist(),
            "tally": None
            if self.tally is None
            else [float(self.tally.amax), *(int(n) for n in (self.tally[0], *self.tally[2:]))],
        }

    def load_state_dict(self, state: dict[str, Any], format: Format) -> None:
        """Restore what `state_dict` returned."""
        self.switch(format)
        self.scale, self._amax = self.scale.new_tensor(state["scale"]), self.scale.new_tensor(state["amax"])
        self._is_fixed, self._history = state["is_fixed"], self._history.new_tensor(state["history"])
        if state["tally"] is not None:
            amax, elements, *counts = state["tally"]
            self.tally = Tally(elements, self.scale.new_tensor(amax), *counts)

    def adopt(self, state: dict[str, Any]) -> None:
        """Take over the history of another run's operand, and a fixed scale of the same format."""
        self._history = self._history.new_tensor(state["history"])
        if self._is_fixed and state["is_fixed"] and state["format"] == self.format.facts():
            self.load_state_dict(state, self.format)
        elif self._is_fixed:
            self.fix_scale()

    @property
    def _keeps_more(self) -> bool:
        return self.quantizer.scale_rule.history > 1

    def _fixed_scale(self) -> Tensor:
        """The scale of the last amax with one binade of headroom; 1 without scaling."""
        headroom = 1.0 if self.quantizer.scale_rule.kind == "none" else 2.0
        return self.quantizer.scale_of(self._amax) * headroom

    def _remember(self, x: Tensor, done: Quantized) -> None:
        """Keep of a training pass: the scale, the counts with the others of its step, the step's largest amax."""
        self._shape, self._block = x.shape, self.quantizer.block_of(x)
        self.scale, tally = done.scale, done.tally
        is_delayed = self.quantizer.scale_rule.kind == "delayed"
        if tally is not None:
            if self._block is None:
                self._amax = tally.amax
            elif not self._is_fixed:  # of blocks only the scales are at hand, and they bound the magnitudes
                self._amax = done.scale * self.format.largest
            continues = self.tally is not None and self._tally_step == self._moment.step
            self.tally = self.tally.plus(tally) if self.tally is not None and continues else tally
            self._tally_step = self._moment.step
        if is_delayed:  # the identity keeps a history too, for a later switch
            seen = finite_amax(x) if tally is None else tally.amax
            self._pending = seen if self._pending is None else torch.maximum(self._pending, seen)

    def _key(self) -> int | None:
        if self.quantizer.rounding != "stochastic":
            return None
        now = self._moment
        return derive_key(now.seed, "rounding", now.phase, self.path, self.role, now.step, now.micro_batch)
