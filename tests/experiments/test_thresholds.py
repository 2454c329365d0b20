"""The largest rate that does not diverge: from all rates of a seed, probes among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.study.study import Study


def test_a_threshold_lies_between_the_largest_stable_rate_and_the_smallest_that_diverged(
    study: Callable[..., Study], made: Any
) -> None:
    cells = [made(rate=rate, loss=loss) for rate, loss in ((0.1, 2.0), (1.0, 2.5), (10.0, None))]
    cells += [made(rate=3.0, loss=None, role="probe"), made(rate=1.7, loss=2.9, role="probe"), made(rate=0.1, seed=2)]
    (found,) = Analysis(study(cells)).thresholds
    assert (found.seed, found.rates, found.stable, found.diverged) == (1, 5, 1.7, 3.0)
    assert found.uncertainty == pytest.approx(3.0 / 1.7)


def test_where_nothing_or_everything_diverged_one_side_is_open(study: Callable[..., Study], made: Any) -> None:
    cells = [made(rate=rate) for rate in (0.1, 1.0)]
    cells += [made(rate=rate, loss=None, optimizer="manifold-adamw") for rate in (0.1, 1.0)]
    fine, none = Analysis(study(cells)).thresholds
    assert (fine.stable, fine.diverged, fine.uncertainty) == (1.0, None, None)
    assert (none.stable, none.diverged, none.uncertainty) == (None, 0.1, None)


def test_a_loss_that_needs_no_model_is_not_stable(study: Callable[..., Study], made: Any) -> None:
    """The unigram entropy of the text is 4.158: a run that ends there has learned nothing from its contexts."""
    cells = [made(rate=rate, loss=loss) for rate, loss in ((0.1, 2.0), (1.0, 4.157), (3.0, 4.1585), (10.0, None))]
    (found,) = Analysis(study(cells)).thresholds
    assert (found.stable, found.diverged) == (1.0, 3.0)
