"""The maximal update parametrization (muP): rates that are right for one width are right for others.

G. Yang et al., "Tensor Programs V: Tuning large neural networks via zero-shot hyperparameter transfer", 2203.03466, table 8,
which is the form that allows tied embeddings. With r = n_embd / base_width:

| parameters | standard deviation at the start | multiplier | rate under Adam | of relative steps |
|---|---|---|---|---|
| embeddings, norms, biases | as at base_width | 1 | 1 | 1 |
| hidden matrices: qkv, fc, both c_proj | times r^(-1/2) | 1 | r^-1 | r^(-1/2) |
| `lm_head` | as at base_width | r^-1 | 1 | 1 |

Scores of attention are scaled by 1 / d, not 1 / sqrt(d), d the dimension of a head. All is relative to base_width, where the
model is the ordinary one; the number of heads is the same at every width, so that their dimension grows.

The rates. In a hidden layer of n inputs, the change of an output is the sum of dW_ij x_j over j. The gradient is a sum of few
outer products with the inputs themselves, so the n terms have one sign, and the change grows as n |dW_ij|. Adam moves every
element by about its rate, so the rate must fall as 1 / n: the table has this. A relative step moves an element by its rate times
its own magnitude, or the spacing of a grid that is scaled to the weights, both about n^(-1/2) in a hidden matrix. The change is
then rate * n^(1/2), so the rate must fall as n^(-1/2). Elements of embeddings and of `lm_head`, with its multiplier, are as large
at every width, so that their relative steps keep their rate. An optimizer tells which steps it takes
(`OptimizerSpec.width_power`).
"""

from __future__ import annotations

import math

from torch import nn

from altgrad_core import WidthScaling


def mark(model: nn.Module, ratio: float) -> None:
    """Tell optimizers how the rates of a model go with its width; see `WidthScaling`."""
    model.width_scaling = WidthScaling(ratio)  # type: ignore[assignment]
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear) and path.startswith("blocks."):
            module.width_scaling = WidthScaling(ratio, is_hidden=True)  # type: ignore[assignment]


def attention_scale(width: int, base_width: int, heads: int) -> float:
    """What multiplies scores: sqrt(d at base_width) / d, which is 1 / sqrt(d) at base_width."""
    return math.sqrt(base_width / heads) / (width / heads)
