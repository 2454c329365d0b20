"""How much the loss of an arm depends on the learning rate (Wortsman et al., arXiv 2309.14322)."""

from __future__ import annotations

import math
from collections.abc import Mapping


def rate_sensitivity(losses: Mapping[float, float], *, initial: float) -> float | None:
    """The mean excess of the loss over the best one, over a range of learning rates, in nats per token.

    Learning-rate sensitivity of Wortsman et al. (2023, arXiv 2309.14322): the expectation of min(loss(rate), initial) less the
    smallest loss, with rates uniform on a logarithmic scale between the smallest and the largest tried. Between the rates
    that were tried the loss is taken to be linear in the logarithm of the rate (trapezoids).

    Args:
        losses: by rate; not finite where the run diverged, which counts as `initial`.
        initial: the loss of a model that has learned nothing, log(vocabulary).

    Returns:
        None below 3 rates, or where no run ended below `initial`.
    """
    capped = {rate: min(loss, initial) if math.isfinite(loss) else initial for rate, loss in losses.items()}
    rates = sorted(capped)
    if len(rates) < 3 or min(capped.values()) >= initial:
        return None
    best = min(capped.values())
    places = [math.log(rate) for rate in rates]
    area = math.fsum(
        (after - before) * (capped[low] + capped[high] - 2 * best) / 2
        for before, after, low, high in zip(places, places[1:], rates, rates[1:], strict=False)
    )
    return area / (places[-1] - places[0])
