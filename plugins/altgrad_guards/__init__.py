"""Guards: interventions that stop a run, skip a step, clip gradients, or move layers to other formats."""

from __future__ import annotations

from collections.abc import Iterable

from altgrad_core import Intervention, hookimpl
from altgrad_guards.clipping import ClipLayers, ClipPartition, ClipRelative, SkipBadStep
from altgrad_guards.freezing import FreezeOscillating
from altgrad_guards.replay import Replay
from altgrad_guards.rules import RankAlarm, ReadingRule
from altgrad_guards.stopping import RollBackOnDivergence, StopOnDivergence, StopOnNonfinite
from altgrad_guards.switching import EmergencyShift, WidenStalled


@hookimpl
def altgrad_interventions() -> Iterable[type[Intervention]]:
    """The interventions of this package."""
    yield from (StopOnNonfinite, StopOnDivergence, RollBackOnDivergence, SkipBadStep)
    yield from (ClipLayers, ClipPartition, ClipRelative)
    yield from (WidenStalled, EmergencyShift, FreezeOscillating)
    yield from (ReadingRule, RankAlarm, Replay)
