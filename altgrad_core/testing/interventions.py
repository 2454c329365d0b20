"""The laws of an intervention, tried on made-up readings: quiet ones, wild ones, NaN, and layers that come and go."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from random import Random
from typing import Any

from altgrad_core.contracts.actions import BEFORE_THE_UPDATE, ROLES, Action
from altgrad_core.contracts.events import WHOLE_MODEL, Backpropagated
from altgrad_core.contracts.intervention import RUN_READINGS, Intervention
from altgrad_core.registry.kinds import NAME
from altgrad_core.running.state.serialize import Tensors, pack, unpack
from altgrad_core.testing.laws import Law, check_laws
from altgrad_core.testing.options import OPTION_LAWS, made, title
from altgrad_core.testing.tiny import changed, generators

Sequence = list[tuple[int, dict[str, Any]]]
"""Steps and the readings of each."""

STEPS = 120


def check_intervention(intervention: type[Intervention] | Intervention, **options: Any) -> None:
    """Try every law of an intervention; a fraction of a second.

    Args:
        intervention: the class, or an instance of it.
        options: those it is made with.

    Raises:
        AssertionError: the first law that is broken, and what came.
    """
    example = made(intervention, options, kind="intervention")
    check_laws(title(example, "intervention"), LAWS, example)


def declarations_are_sound(intervention: Intervention) -> Iterator[str]:
    """`reads` names readings, `acts` is a tuple of kinds of action, and their times go together."""
    reads: Any = intervention.reads
    names = reads if isinstance(reads, tuple) else (reads,)
    if not names or not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
        yield f"reads is {reads!r}; expected the name of a reading, such as validation-loss, or a tuple of several."
        return
    acts: Any = intervention.acts
    if not isinstance(acts, tuple) or not acts or not all(isinstance(a, type) and issubclass(a, Action) for a in acts):
        yield f"acts is {acts!r}; expected a tuple such as (Stop,)."
        return
    early = [action.__name__ for action in acts if issubclass(action, BEFORE_THE_UPDATE)]
    for name in names:
        if early and RUN_READINGS.get(name, Backpropagated) is not Backpropagated:
            yield f"{early[0]} comes too late after {name}."


def formats_are_named(intervention: Intervention) -> Iterator[str]:
    """names_formats gives names."""
    for name in intervention.names_formats():
        if not isinstance(name, str) or not NAME.fullmatch(name.lower()):
            yield f"It gave {name!r}."


def others_can_be_beside_it(intervention: Intervention) -> Iterator[str]:
    """It waits for at least one reading, names patterns of layers, and does not contradict a copy of itself."""
    if not isinstance(waits := intervention.waits_for(), int) or waits < 1:
        yield f"It waits for {waits!r} readings."
    for pattern in intervention.names_layers():
        if not isinstance(pattern, str):
            yield f"It names the layers {pattern!r}."
    if (why := intervention.contradicts(_fresh(intervention))) is not None:
        yield f"It contradicts its copy: {why}."


def actions_are_declared(intervention: Intervention) -> Iterator[str]:
    """decide yields only actions of the kinds in `acts`, each with a reason and with values the run can use."""
    for name, sequence in _sequences(intervention).items():
        for step, action in _decisions(_fresh(intervention), sequence):
            if not isinstance(action, intervention.acts):
                declared = ", ".join(kind.__name__ for kind in intervention.acts)
                yield f"It yielded {action!r} at step {step} of {name}; it declares {declared}."
            else:
                yield from (f"{action!r}, at step {step} of {name}, has {flaw}." for flaw in _flaws(action))


def decisions_are_reproducible(intervention: Intervention) -> Iterator[str]:
    """The same readings give the same actions, and no shared random generator moves."""
    for name, sequence in _sequences(intervention).items():
        before = generators()
        once, again = (_decisions(_fresh(intervention), sequence) for _ in range(2))
        if repr(once) != repr(again):
            yield f"On {name} it decided {once}, then {again}."
        yield from (f"On {name} it moved {generator}." for generator in changed(before, generators()))


def readings_are_left_alone(intervention: Intervention) -> Iterator[str]:
    """decide does not change the readings it is given."""
    for name, sequence in _sequences(intervention).items():
        shown = repr(sequence)
        _decisions(_fresh(intervention), sequence)
        if repr(sequence) != shown:
            yield f"It changed those of {name}."


def state_is_saved_whole(intervention: Intervention) -> Iterator[str]:
    """Its state survives a checkpoint at any step: it goes on to decide what it would have decided."""
    for name, sequence in _sequences(intervention).items():
        whole = repr(_decisions(_fresh(intervention), sequence))
        for cut in range(0, len(sequence), 7):
            first, second = _fresh(intervention), _fresh(intervention)
            begun = _decisions(first, sequence[:cut])
            tensors: Tensors = {}
            packed = json.loads(json.dumps(pack(first.state_dict(), tensors, "state")))
            second.load_state_dict(unpack(packed, tensors))
            continued = repr(begun + _decisions(second, sequence[cut:]))
            if continued != whole:
                yield f"Saved after {cut} readings of {name} it decided {continued}, expected {whole}."


LAWS: tuple[Law, ...] = (
    *OPTION_LAWS,
    declarations_are_sound,
    formats_are_named,
    others_can_be_beside_it,
    actions_are_declared,
    decisions_are_reproducible,
    readings_are_left_alone,
    state_is_saved_whole,
)


def _fresh(intervention: Intervention) -> Intervention:
    return type(intervention)(**intervention.model_dump())


def _decisions(intervention: Intervention, sequence: Iterable[tuple[int, dict[str, Any]]]) -> list[tuple[int, Any]]:
    """Every step with an action; one that raises is named with the readings that made it."""
    decided = []
    for step, readings in sequence:
        try:
            decided += [(step, action) for action in intervention.decide(step, readings) or ()]
        except Exception as error:
            error.add_note(f"at step {step}, asked about {readings}")
            raise
    return decided


def _flaws(action: Action) -> Iterator[str]:
    if not isinstance(action.because, str) or not action.because.strip():
        yield "no reason: because is empty"
    for value in (getattr(action, entry.name) for entry in fields(action)):
        if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
            yield f"the number {value!r}, which the run cannot use"
    if getattr(action, "role", ROLES[0]) not in ROLES:
        yield f"the role {action.role!r}; there is {', '.join(ROLES)}"  # type: ignore[attr-defined]


def _sequences(intervention: Intervention) -> dict[str, Sequence]:
    """Made-up readings by what they are like: of the whole model where the run reports them, else of layers too."""
    random = Random(0)
    wild = (0.0, 1e-30, 1e30, -1.0, math.inf, -math.inf, math.nan)
    shapes = {
        "zeros": lambda step: 0.0,
        "large numbers": lambda step: 1e6,
        "falling numbers": lambda step: 10 * 0.9**step,
        "rising numbers": lambda step: 1.1**step,
        "NaN": lambda step: math.nan,
        "infinities": lambda step: math.inf,
        "whole numbers": lambda step: step,
        "wild numbers": lambda step: random.choice((random.expovariate(1.0), *wild)),
    }
    layers: dict[str, tuple[str, ...]] = {"*": (WHOLE_MODEL,)}
    if not set(intervention.wants()) <= RUN_READINGS.keys():
        layers |= {"layers": ("blocks.0", "blocks.1"), "layers that come and go": ()}
    return {
        f"{shape} for {which}": [(step, _offered(intervention, names, number, step)) for step in range(1, STEPS + 1)]
        for shape, number in shapes.items()
        for which, names in layers.items()
    }


def _offered(intervention: Intervention, layers: tuple[str, ...], number: Any, step: int) -> dict[str, Any]:
    """What it is asked about; of several readings one comes every step, the next every other step, and so on."""
    if isinstance(intervention.reads, str):
        return _readings(layers, number, step)
    new = [name for place, name in enumerate(intervention.reads, start=1) if step % place == 0]
    return {name: _readings(layers, number, step) for name in new}


def _readings(layers: tuple[str, ...], number: Any, step: int) -> dict[str, Any]:
    return {layer: number(step) for layer in layers or (f"blocks.{step % 3}", *["blocks.1"] * (step % 2))}
