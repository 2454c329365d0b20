"""The z-loss: keeps the logits of a softmax from drifting."""

from __future__ import annotations

from torch import Tensor


def z_loss(logits: Tensor, *, coefficient: float) -> Tensor:
    """coefficient * mean(log(Z)^2), Z = sum(exp(logits)) over the last dimension, in float32; a scalar.

    The mean is over all tokens or examples. A. Chowdhery et al., "PaLM: Scaling language modeling with pathways", 2022,
    section 5; M. Wortsman et al., 2309.14322, section 3.1.2.
    """
    return coefficient * logits.float().logsumexp(-1).square().mean()
