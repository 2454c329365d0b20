"""Options of the optimizers that multiply weights by factors: Madam and LNS-Madam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveFloat

from altgrad_baselines.matrices import matrices
from altgrad_baselines.shared_options import InProportion
from altgrad_core import Geometry

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class Madam(InProportion):
    """Madam: multiplies every weight by a factor near 1, so signs never change.

    From Bernstein et al. (2006.14560).

    w <- clamp(w * exp(-lr * clamp(g / sqrt(v), +-g_bound) * sign(w)), +-p_scale * rms), with v the mean of g * g as in
    Adam, and rms that of the tensor before its first step. There is no weight decay: the clamp has its place.

    A weight of 0 never moves, and no weight changes its sign. The paper treats every parameter so; here it is every
    matrix, quantized or not, while vectors, of which many start at 0, take AdamW.

    Options:
        lr: learning rate at its peak: the change of a logarithm of a weight, per step.
        beta: decay of the mean of the squared gradients.
        g_bound: the largest normalized gradient.
        p_scale: the largest weight, in root mean squares.
        plain_lr: the rate of AdamW for vectors.
    """

    name: ClassVar = "madam"
    plain_rate: ClassVar = "plain_lr"

    lr: PositiveFloat = 0.01
    beta: float = Field(default=0.999, ge=0, lt=1)
    g_bound: PositiveFloat = 10.0
    p_scale: PositiveFloat = 3.0
    plain_lr: PositiveFloat = 1e-3

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """A `Madam` optimizer; matrices and vectors stand in groups of their own."""
        from altgrad_baselines.madam import Madam as Multiplicative

        return Multiplicative(
            self.split(groups, matrices(groups), lr=self.plain_lr, weight_decay=0.01),
            lr=self.lr,
            beta=self.beta,
            g_bound=self.g_bound,
            p_scale=self.p_scale,
        )


class LNSMadam(InProportion):
    """LNS-Madam: Madam on base-2 exponents that are multiples of 1/base_factor.

    From Zhao et al. (2106.13914).

    log2|w| <- Q(log2|w| - lr * clamp(g / sqrt(v), +-g_bound) * sign(w)), with Q to the nearest multiple. Exponents lie
    in the (2 ** (bits - 1) - 1) / base_factor binades below that of twice the tensor's largest magnitude before the
    first step. Weights live there in place of a float32 master; the forward pass rounds them to their own format.

    As with Madam, a weight of 0 never moves, signs stay, there is no weight decay, and vectors take AdamW.

    Options:
        lr: learning rate at its peak, in binades per step.
        beta: decay of the mean of the squared gradients.
        base_factor: steps of the logarithmic grid per binade; the paper's gamma.
        bits: of a weight, one of them its sign. The paper keeps 16 for the update where it computes with 8.
        g_bound: the largest normalized gradient.
        plain_lr: the rate of AdamW for vectors.
    """

    name: ClassVar = "lns-madam"
    plain_rate: ClassVar = "plain_lr"

    lr: PositiveFloat = 2.0**-7
    beta: float = Field(default=0.999, ge=0, lt=1)
    g_bound: PositiveFloat = 10.0
    base_factor: int = Field(default=2048, ge=1, le=2**20)  # float32 weights tell this many apart
    bits: int = Field(default=16, ge=2, le=32)
    plain_lr: PositiveFloat = 1e-3

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """An `LNSMadam` optimizer; matrices and vectors stand in groups of their own."""
        from altgrad_baselines.lns_madam import LNSMadam as Logarithmic

        return Logarithmic(
            self.split(groups, matrices(groups), lr=self.plain_lr, weight_decay=0.01),
            lr=self.lr,
            beta=self.beta,
            g_bound=self.g_bound,
            base_factor=self.base_factor,
            bits=self.bits,
        )
