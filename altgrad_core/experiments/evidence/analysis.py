"""Everything that is computed from a study, each part once, for every sentence, table and figure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from altgrad_core.contracts.reading import Chart, Reading
from altgrad_core.experiments.evidence.arms import Arm, arms_of
from altgrad_core.experiments.evidence.blocks import Sampled, sampled
from altgrad_core.experiments.evidence.controls import (
    Contrast,
    Sameness,
    contrasts_of,
    same_grids_of,
    same_optimizers_of,
)
from altgrad_core.experiments.evidence.costs import Cost, costs_of
from altgrad_core.experiments.evidence.effects import LOSS, PERPLEXITY, Effect, effects_of
from altgrad_core.experiments.evidence.facts import format_facts_of, readings_of, references_of, twins_of
from altgrad_core.experiments.evidence.interactions import Interaction, interactions_of
from altgrad_core.experiments.evidence.layers import LayerMean, layer_means_of
from altgrad_core.experiments.evidence.rate_sensitivity import rate_sensitivity
from altgrad_core.experiments.evidence.thresholds import Threshold, thresholds_of
from altgrad_core.experiments.evidence.variance import Pooled, Share, pooled, shares
from altgrad_core.experiments.study.study import Study


@dataclass(frozen=True)
class Analysis:
    """The evidence of a study. Each part is computed when it is first used, and kept."""

    study: Study

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """Every combination of format, optimizer and variant of which a cell was planned, in order of appearance."""
        return arms_of(self.study)

    @cached_property
    def effects(self) -> tuple[Effect, ...]:
        """Every optimizer against the baseline by validation loss, in nats per token."""
        return effects_of(self.arms, self.study.baseline, LOSS, self.study.margin)

    @cached_property
    def perplexity_effects(self) -> tuple[Effect, ...]:
        """Every optimizer against the baseline by perplexity, the exponential of the loss."""
        return effects_of(self.arms, self.study.baseline, PERPLEXITY)

    def effects_by(self, metric: str) -> tuple[Effect, ...]:
        """The effects by `loss` or by `perplexity`."""
        return self.effects if metric == LOSS else self.perplexity_effects

    @cached_property
    def costs(self) -> tuple[Cost, ...]:
        """What every format and variant adds to the loss of its optimizer, in nats per token."""
        return costs_of(self.arms, self.references, self.study.margin)

    @cached_property
    def interactions(self) -> tuple[Interaction, ...]:
        """What an optimizer gains in one format less what it gains in another, for every pair of formats."""
        return interactions_of(self.effects, self.references, self.study.margin)

    def against_unquantized(self, optimizer: str) -> list[Interaction]:
        """The contrasts of an optimizer with unquantized weights, or with the widest format.

        A format benefits more than others only where such a contrast shows it.
        """
        return [c for c in self.interactions if c.optimizer == optimizer and c.other in self.references]

    @cached_property
    def variance(self) -> tuple[Share, ...] | None:
        """What the losses at the chosen rates vary with; None where no complete design is left."""
        formats = set(self.study.formats())
        by_optimizer: dict[tuple[str, str], list[Arm]] = {}
        for arm in self.arms:
            by_optimizer.setdefault((arm.optimizer, arm.variant), []).append(arm)
        whole = [arm for own in by_optimizer.values() if {arm.format for arm in own} == formats for arm in own]
        losses: dict[tuple[str, ...], float] = {
            (a.format, a.optimizer, a.variant, str(seed)): loss for a in whole for seed, loss in a.losses.items()
        }
        return shares(losses, ("format", "optimizer", "variant", "seed"))

    @cached_property
    def pooled(self) -> tuple[tuple[str, str, Pooled], ...]:
        """Of every optimizer and variant, its gains in several formats, pooled."""
        gains: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
        for effect in self.effects:
            own = gains.setdefault((effect.optimizer, effect.variant), {})
            own[effect.format] = dict(zip(effect.seeds, effect.differences, strict=True))
        result = ((*place, pooled(own)) for place, own in gains.items())
        return tuple((optimizer, variant, own) for optimizer, variant, own in result if own is not None)

    @cached_property
    def sensitivities(self) -> tuple[tuple[Arm, float], ...]:
        """How much the loss of every arm depends on its rate, where the loss of having learned nothing is known."""
        if (initial := self.study.initial_loss) is None:
            return ()
        result = []
        for arm in self.arms:
            losses = {point.rate: math.inf if point.mean is None else point.mean for point in arm.tried}
            if (value := rate_sensitivity(losses, initial=initial)) is not None:
                result.append((arm, value))
        return tuple(result)

    @cached_property
    def sampled(self) -> tuple[Sampled, ...]:
        """Effects with the choice of the validation text in their interval, where runs recorded its blocks."""
        by_place = {(r.format, r.optimizer, r.variant, r.rate, r.seed): r for r in self.study.results if r.has_ended}

        def blocks(arm: Arm, rate: float, seed: int) -> tuple[float, ...]:
            result = by_place.get((arm.format, arm.optimizer, arm.variant, rate, seed))
            return () if result is None else result.run_summary.blocks

        return tuple(own for effect in self.effects if (own := sampled(effect, blocks)) is not None)

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        """Every pair of arms of one format that differ in one option of the optimizer or one key of the variant."""
        return contrasts_of(self.study, self.arms)

    @cached_property
    def same_grids(self) -> tuple[Sameness, ...]:
        """For formats whose grids are equal up to a power of two: whether their runs are equal, as they must be."""
        return same_grids_of(self.study, self.twins)

    @cached_property
    def same_optimizers(self) -> tuple[Sameness, ...]:
        """Optimizers, or options of one, that gave equal runs at the same rate wherever they were paired."""
        return same_optimizers_of(self.study)

    @cached_property
    def thresholds(self) -> tuple[Threshold, ...]:
        """The largest learning rate of every arm that does not diverge."""
        return thresholds_of(self.study)

    @cached_property
    def layer_means(self) -> tuple[LayerMean, ...]:
        """Every reading that the finished cells at the chosen rates recorded, by type of layer."""
        return layer_means_of(self.study, self.arms)

    @cached_property
    def format_facts(self) -> dict[str, dict[str, Any]]:
        """By name, the facts of every format that a cell recorded."""
        return format_facts_of(self.study)

    @cached_property
    def references(self) -> tuple[str, ...]:
        """The formats with 16 bits and more, which the others are compared with: the narrowest first."""
        return references_of(self.study, self.format_facts)

    @cached_property
    def twins(self) -> tuple[tuple[str, str], ...]:
        """Pairs of formats whose grids are equal up to a power of two."""
        return twins_of(self.study, self.format_facts)

    @cached_property
    def _readings(self) -> tuple[Reading, ...]:
        return readings_of(self.study)

    def readings(self, *charts: Chart) -> tuple[Reading, ...]:
        """Every reading that a cell recorded, in the order declared; with `charts`, only those drawn in one of these ways."""
        return tuple(reading for reading in self._readings if not charts or reading.chart in charts)
