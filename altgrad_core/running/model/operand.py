"""One operand of one quantized layer: a quantizer with the scale, history and counts that belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor

from altgrad_core.contracts.actions import BACKWARD, GRADIENTS, WEIGHTS, Role
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.numerics.hadamard import in_its_basis
from altgrad_core.numerics.ops import amax, scale_of
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.sharded import gathered
from altgrad_core.numerics.straight_through import Rounded, Rounds, RoundsOnce
from altgrad_core.numerics.tally import Quantized, Tally
from altgrad_core.numerics.traced import TracedOperand
from altgrad_core.numerics.tracing import constant_when_traced
from altgrad_core.running.model.amax_history import AmaxHistory
from altgrad_core.running.model.calls import Calls, is_recomputing
from altgrad_core.running.model.exported import exported, exported_scale
from altgrad_core.running.model.layout import PLAIN, Layout, plain
from altgrad_core.running.model.moment import ONCE_A_STEP, Moment, Passed, Seen, identity_of, refuse_capture, together


class Operand(TracedOperand):
    """Quantizes one operand, at training time remembering what delayed scaling and monitors need.

    In evaluation (`training=False`) it reads the history and writes nothing.
    """

    def __init__(
        self, path: str, role: Role, quantizer: Quantizer, moment: Moment, device: torch.device, layout: Layout = PLAIN
    ) -> None:
        super().__init__()
        self.path, self.role, self.quantizer, self.layout = path, role, quantizer, layout
        self._is_once, self._can_repeat = role in ONCE_A_STEP, role not in ONCE_A_STEP + BACKWARD
        self.scale = torch.ones((), dtype=torch.float32, device=device)
        self.tally: Tally | None = None
        self.is_used, self._is_fixed, self.geometry, self._calls = False, False, Geometry(self), Calls()
        self._moment, self._tally_step, self._seen_step = moment, -1, -1
        self._amax = torch.zeros((), dtype=torch.float32, device=device)
        self._shape, self._like = torch.Size(), torch.empty(0, device="meta")  # of the last tensor; the first in rows
        self.history = AmaxHistory()
        self._latest: object = None  # the state of the weight that was counted last
        moment.expect(quantizer)

    @property
    def format(self) -> Format:
        """The format in force."""
        return self.quantizer.target

    def rounded(self, x: Tensor, *, training: bool) -> Rounded:
        """What an eager pass makes of a tensor, and remembers of it."""
        rounds = self.rounds_once(x, training=training) if self.role in WEIGHTS else self.rounds(training=training)
        return rounds(x if self.role in WEIGHTS else x.detach())

    def rounds(self, *, training: bool) -> Rounds:
        """What rounds a tensor of this pass."""
        return partial(self._round, training=training)

    def rounds_once(self, weight: Tensor, *, training: bool) -> Rounds:
        """What rounds a weight in all passes of a step, backward ones too, at the scale of its first pass.

        The scale is taken again in every forward pass, so that no change of the weight is missed. Noise is drawn and
        counts are taken once a step, and again when the weight is seen to be another.
        """
        now, identity = self._moment, identity_of(weight)
        state = (*identity, now.step, now.phase, training, self.quantizer)
        is_new, self._latest = self._latest != state, state
        if is_new and training and self.role == "weight":
            now.notice_weight(self.path, identity)
        how, key = self.quantizer, self._key()

        def first(weight: Tensor) -> tuple[Rounded, Tensor]:
            done = self._quantize(weight, training and is_new)
            return (done.values, self.layout.passes(weight, done.scale, how)), done.scale

        def again(weight: Tensor, at: Tensor) -> Rounded:
            return self.layout.quantized(weight, how, at, key).values, self.layout.passes(weight, at, how)

        return RoundsOnce(first, again)

    def _round(self, x: Tensor, *, training: bool) -> Rounded:
        done = self._quantize(x, training)
        return done.values, self.layout.passes(x, done.scale, self.quantizer)

    def _quantize(self, x: Tensor, training: bool) -> Quantized:
        if training and x.is_cuda:
            refuse_capture(self.path, self.role, self.quantizer)
        is_repeated = training and self._can_repeat and is_recomputing()
        key = self._key(self._call(x, is_repeated) if training else 0) if self.quantizer.mode.random_bits else None
        done = self._rounded(x, self._given_scale(), key)
        if training and not is_repeated:
            self._remember(x, done)
        if self.role in GRADIENTS and self.quantizer.nonfinite == "auto":  # loss scalers and guards need to see these
            return done.with_infinities(x.detach())
        return done

    def _call(self, x: Tensor, is_repeated: bool) -> int:
        """The number of this call within its micro-batch, for the noise; a weight is rounded once a step."""
        if self._is_once:
            return 0
        if is_repeated:
            return self._calls.repeated(x)
        now = self._moment
        input = None if self.role in BACKWARD else x  # a backward pass is not recomputed
        return self._calls.new(input, (now.phase, now.step, now.micro_batch))

    def _given_scale(self) -> Tensor | None:
        """The scale that does not depend on the tensor: a fixed one, or that of earlier steps."""
        if self._is_fixed:
            return self.scale
        return self.history.scale(self.quantizer, self.scale.device) if self._has_history else None

    @property
    def _is_delayed(self) -> bool:
        return self.quantizer.scale_rule.kind == "delayed"

    @property
    def _has_history(self) -> bool:
        """Whether the scale is that of earlier steps, if there were any."""
        return self._is_delayed and not self._moment.is_void

    def _rounded(self, x: Tensor, scale: Tensor | None, key: int | None) -> Quantized:
        """Round a tensor, or take what another layer made of the same activation."""
        how, passed = self.quantizer, self._moment.passed
        is_shared = self.role == "activation" and not how.mode.random_bits and self._can_be_shared(x)
        if is_shared and passed is not None and passed.serves(x, how, scale):
            return passed.done
        if self.role in GRADIENTS:
            self._moment.passed = None  # free its memory for the backward pass
        done = self.layout.quantized(x, how, scale, key)
        if is_shared:
            self._moment.passed = Passed(ref(x), x._version, how, scale, done)
        return done

    def _can_be_shared(self, x: Tensor) -> bool:
        """Whether every change of `x` is seen: the graph needs it unchanged. Other memory may be written to unseen."""
        return x.grad_fn is not None and self.layout.is_plain and not x.is_inference()

    @property
    def scales(self) -> Tensor:
        """The scale in force of every element of the last tensor, by broadcasting where that will do."""
        return self.spread(self.scale)

    def spread(self, scale: Tensor) -> Tensor:
        """A scale of each tile as `scales` has them."""
        scales = self.quantizer.tiling.spread(scale, tuple(self._shape))
        if self.layout.is_plain or scale.ndim == 0:
            return scales
        return self.layout.back(scales.expand(self._shape), self._like)

    def exported(self, x: Tensor) -> Tensor:
        """What an evaluation makes of `x` now, in operations of torch that need nothing of this process."""
        scale = self.scale if self._is_fixed else None
        if self._has_history and self.history.entries and not self._is_fixed:
            scale = exported_scale(self.history.most(self.scale.device), self.quantizer)
        return exported(x, self.quantizer, self.layout, scale=scale, key=self._exported_key())

    @constant_when_traced
    def _exported_key(self) -> int | None:
        return self._key()

    def evaluated(self, x: Tensor) -> Quantized:
        """What an evaluation makes of `x` now; nothing is remembered."""
        return self._quantize(x, False)

    def keep_scale(self, scale: Tensor, *, like: Tensor) -> None:
        """From now on use this scale, for a tensor of the shape of `like` whose values are on its grid."""
        self._notice_shape(like)
        self._is_fixed, self.scale, self._latest = True, scale, None

    def measure(self, x: Tensor) -> None:
        """Take the scale of `x` before any forward pass, so that the geometry is defined from the start.

        A sharded weight is gathered, as forward passes gather it: its scales are those of the whole.
        """
        rows = self._notice_shape(gathered(x.detach()))
        if not self.format.is_identity:
            self._amax = amax(in_its_basis(rows, self.quantizer), self.quantizer.tiling)
            self.scale = scale_of(self._amax, self.quantizer)

    def advance(self) -> float | None:
        """An optimizer step is over; the largest amax of the history, where the next scale follows from it."""
        self.history.advance(self.quantizer.scale_rule.history)
        is_followed = self._is_delayed and self.history.entries and not self._is_fixed
        return max(self.history.entries) if is_followed else None

    @property
    def is_seen(self) -> bool:
        """Whether it was rounded in a training pass of this step."""
        return self._seen_step == self._moment.step

    def seen(self) -> Seen | None:
        """What was seen in the training passes of this step; None: nothing was."""
        own = self.tally, self.history.pending, self.scale, self._amax, self._shape, self._like.shape
        return Seen(*own) if self.is_seen else None

    def take(self, parts: Sequence[Seen | None]) -> None:
        """Take over what all processes saw in this step, each its part of the micro-batches, in their order."""
        if (whole := together(parts, once=self._is_once)) is not None:
            self.is_used, self._seen_step, self._tally_step = True, self._moment.step, self._moment.step
            self.tally, self.history.pending, self.scale, self._amax, self._shape, like = whole
            self._like = torch.empty(like, device="meta")

    def take_reduced(self, tally: Tally | None, pending: Tensor) -> None:
        """Take over what all replicas saw in this step: their counts, and the largest amax, negative where none saw any."""
        if tally is not None:
            self.is_used, self._seen_step, self._tally_step = True, self._moment.step, self._moment.step
            self.tally = tally
        if self.history.pending is not None or bool(pending >= 0):
            self.history.pending = pending

    def switch(self, format: Format) -> None:
        """Use another format, at the scale of the last amax until the next pass; the history stays valid."""
        self.quantizer, self._latest = replace(self.quantizer, format=format), None
        self.scale = self._fixed_scale() if self._is_fixed else scale_of(self._amax, self.quantizer)

    def fix_scale(self) -> None:
        """See `Geometry.fix_scale`."""
        self._is_fixed, self.scale, self._latest = True, self._fixed_scale(), None

    def state_dict(self, *, tensors: bool = False) -> dict[str, Any]:
        """The format in force, the scale, the history and the last counts, as plain data.

        With `tensors`, scales of blocks are tensors. Those of activations and gradients are left out: the next pass makes them.
        """
        is_kept = self._is_once or self.scale.ndim == 0
        return {
            "format": self.format.facts(),
            "scale": plain(self.scale, tensors=tensors) if is_kept else 1.0,
            "is_fixed": self._is_fixed,
            "amax": plain(self._amax, tensors=tensors) if is_kept else 0.0,
            "history": [*self.history.entries],
            "tally": None if self.tally is None else self.tally.plain(),
        }

    def load_state_dict(self, state: dict[str, Any], format: Format) -> None:
        """Restore what `state_dict` returned."""
        self.switch(format)
        device = self.scale.device
        self.scale = torch.as_tensor(state["scale"], dtype=torch.float32, device=device)
        self._amax = torch.as_tensor(state["amax"], dtype=torch.float32, device=device)
        self._is_fixed, self.history.entries = state["is_fixed"], state["history"]
        if state["tally"] is not None:
            self.tally = Tally.of_plain(state["tally"], device)

    def adopt(self, state: dict[str, Any]) -> None:
        """Take over the history of another run's operand, and a fixed scale of the same format."""
        self.history.entries = state["history"]
        if self._is_fixed and state["is_fixed"] and state["format"] == self.format.facts():
            self.load_state_dict(state, self.format)
        elif self._is_fixed:
            self.fix_scale()

    def _fixed_scale(self) -> Tensor:
        """The scale of the last amax with one binade of headroom; 1 without scaling."""
        return scale_of(self._amax, self.quantizer) * (1.0 if self.quantizer.scale_rule.kind == "none" else 2.0)

    def _remember(self, x: Tensor, done: Quantized) -> None:
        """Keep of a training pass: the scale, the counts with the others of its step, the step's largest amax."""
        self._notice_shape(x)
        self.is_used, self._seen_step = True, self._moment.step
        self.scale, tally = done.scale, done.tally
        if tally is not None:
            if self.quantizer.tiling.whole:
                self._amax = tally.amax
            elif not self._is_fixed:  # of blocks only the scales are at hand, and they bound the magnitudes
                self._amax = done.scale * self.format.largest
            continues = self.tally is not None and self._tally_step == self._seen_step
            self.tally = self.tally.plus(tally) if self.tally is not None and continues else tally
            self._tally_step = self._seen_step
        if self._is_delayed:  # the identity keeps a history too, for a later switch
            self.history.see(amax(x) if tally is None else tally.amax)

    def _notice_shape(self, x: Tensor) -> Tensor:
        """Keep the shape of the tensor; its rows."""
        rows = self.layout.rows(x)
        self._shape = rows.shape
        if not self.layout.is_plain:
            self._like = torch.empty(x.shape, device="meta")
        return rows

    def _key(self, call: int = 0) -> int | None:
        if not self.quantizer.mode.random_bits:
            return None
        return self._moment.key("rounding", self.path, self.role, call=call, is_once=self._is_once)
