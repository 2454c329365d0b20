"""Whether both sides of a comparison train the parameters that are not quantized at one rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.evidence.effects import Effect
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.study.subjects import is_manifest, subjects
from altgrad_core.experiments.study.wording import listed

UNSET = "unset"


@dataclass(frozen=True)
class _Plain:
    """How one side trains them: at the rates that are compared, in words, and by which option, if it has one."""

    optimizer: str
    rates: frozenset[float | str]
    words: str
    option: str | None


def unequal_rates(study: Study, shown: Sequence[Effect]) -> list[str]:
    """For every optimizer that trains them at another rate than the baseline does: that it does, and the remedy.

    Where the study varies the optimizer of one parameter group, all other parameters have one optimizer in every cell.
    """
    known = [result.manifest for result in study.results if is_manifest(result.manifest)]
    if any(own is not whole for own, whole in zip(subjects(known), known, strict=True)):
        return []
    result: dict[str, None] = {}
    for effect in shown:
        if effect.arm is None or effect.against is None or not effect.differences:
            continue
        ours, theirs = _plain(study, effect.arm), _plain(study, effect.against)
        if ours and theirs and (ours.option or theirs.option) and ours.rates != theirs.rates:
            result[_sentence(ours, theirs) if ours.option else _sentence(theirs, ours)] = None
    return list(result)


def _sentence(one: _Plain, other: _Plain) -> str:
    options = listed(sorted({side.option for side in (one, other) if side.option}))
    return (
        f"the optimizer {one.optimizer} trains the parameters that are not quantized at {one.words}, {other.optimizer} at "
        f"{other.words}: {_consequence(one, other)}; give them one rate in both, by {options} or by [[optimizer.group]]"
    )


def _consequence(one: _Plain, other: _Plain) -> str:
    """A default that the manifest does not write out may be any rate, also the same."""
    text = "their difference does not come from the quantized weights alone"
    return f"unless the two rates are equal, {text}" if UNSET in one.rates | other.rates else text


def _plain(study: Study, arm: Arm) -> _Plain | None:
    """None where no cell of the arm has a manifest, or where parameter groups say it."""
    place = (arm.format, arm.optimizer, arm.variant)
    own = [r for r in study.results if (r.format, r.optimizer, r.variant) == place and is_manifest(r.manifest)]
    compared = {held.rate for held in arm.held_out.values()}
    tables = [result.manifest["optimizer"] for result in own if result.rate in compared and result.role == "cell"]
    if not tables or any(table.get("group") for table in tables):
        return None
    option = next((name for table in tables if (name := study.declared.plain_rates.get(str(table.get("use"))))), None)
    if option is None:
        swept = f"its rate, {arm.tried[0].rate:g}" if len(arm.tried) == 1 else "the rate that is swept"
        return _Plain(arm.optimizer, frozenset(compared), swept, None)
    rates = frozenset(_rate(table, option) for table in tables)
    everywhere = {_rate(r.manifest["optimizer"], option) for r in own}
    if UNSET in rates:
        return _Plain(arm.optimizer, rates, f"the default of its {option}", option)
    at_every = " at every rate" if len(everywhere) == 1 and len(arm.tried) > 1 else ""
    values = listed([f"{rate:g}" for rate in sorted(rates, key=float)])
    return _Plain(arm.optimizer, rates, f"{option} = {values}{at_every}", option)


def _rate(table: Mapping[str, Any], option: str) -> float | str:
    value = table.get(option)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else UNSET
