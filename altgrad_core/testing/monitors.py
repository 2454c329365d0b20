"""The laws of a monitor, tried in tiny runs through the real loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any, get_args

import torch

from altgrad_core.contracts.events import EVENTS, WHOLE_MODEL, Event
from altgrad_core.contracts.monitor import Monitor, Need
from altgrad_core.contracts.pattern import matches
from altgrad_core.registry.kinds import NAME
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.loop.dispatch import Decision, Dispatch
from altgrad_core.testing.laws import Law, check_laws
from altgrad_core.testing.options import OPTION_LAWS, made, title
from altgrad_core.testing.tiny import LAYERS, Tape, TinyDescent, changed, everything, tiny_run, train


def check_monitor(monitor: type[Monitor] | Monitor, **options: Any) -> None:
    """Try every law of a monitor; about a second.

    Args:
        monitor: the class, or an instance of it.
        options: those it is made with, beside `every`, `start`, `end` and `layers`, which the laws vary. Give such as
            let it report within twelve steps.

    Raises:
        AssertionError: the first law that is broken, and what came.
    """
    example = made(monitor, options, kind="monitor")
    check_laws(title(example, "monitor"), LAWS, example)


def declarations_are_sound(monitor: Monitor) -> Iterator[str]:
    """`on` is an event, `needs` are snapshots that exist, `reports` are plain names, each once."""
    if monitor.on not in EVENTS:
        yield f"on is {monitor.on!r}; expected one of {', '.join(event.__name__ for event in EVENTS)}."
    if unknown := set(monitor.needs) - set(get_args(Need)):
        yield f"needs {sorted(unknown)}; there is {', '.join(get_args(Need))}."
    names = monitor.readings()
    if not isinstance(names, tuple) or len(set(names)) != len(names):
        yield f"reports is {names!r}; expected a tuple of different names."
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            yield f"reports the name {name!r}; expected one such as flip-rate."


def observing_succeeds(monitor: Monitor) -> Iterator[str]:
    """In an ordinary run it reports, only the names it declares, as numbers by layers that exist, or "*"."""
    tape, breaches = _watched_run(monitor)
    yield from breaches
    readings = tape.of("reading")
    if not readings:
        yield f"It reported nothing about the layers {', '.join(LAYERS)} in 12 steps; pass options that let it."
    for record in readings:
        for layer in record["values"]:
            if layer not in (*LAYERS, WHOLE_MODEL):
                yield f'{record["reading"]} was about "{layer}"; the layers are {", ".join(LAYERS)}.'


def observing_changes_nothing(monitor: Monitor) -> Iterator[str]:
    """Observing changes no weight, gradient, state, mode or shared random generator."""
    yield from _watched_run(monitor, law=_untouched)[1]
    with_it, without = _run(_fresh(monitor)), _run(None)
    train(with_it)
    train(without)
    yield from (f"A run with it ended with another {name} than one without." for name in _apart(with_it, without))


def reports_when_due(monitor: Monitor) -> Iterator[str]:
    """With every = 2, start = 3 and end = 9 it reports at steps 4, 6 and 8 alone."""
    for record in _watched_run(monitor, every=2, start=3, end=9)[0].of("reading"):
        if record["step"] not in (4, 6, 8):
            yield f"It reported at step {record['step']}."


def layers_are_respected(monitor: Monitor) -> Iterator[str]:
    """With layers = "wide|head" it reports of these layers, or of the whole model."""
    for record in _watched_run(monitor, layers="wide|head")[0].of("reading"):
        for layer in record["values"]:
            if layer != WHOLE_MODEL and not matches("wide|head", layer):
                yield f"It reported of {layer}."


def copies_share_no_state(monitor: Monitor) -> Iterator[str]:
    """Two instances share no state: what one has observed, the other does not know."""
    once, again = _readings(train(_run(_fresh(monitor)))), _readings(train(_run(_fresh(monitor))))
    yield from (f"First it reported {a}, then {b}." for a, b in zip(once, again, strict=False) if a != b)


def state_is_saved_whole(monitor: Monitor) -> Iterator[str]:
    """Continued from a checkpoint in the middle of its report window, it reports what it would have reported."""
    whole = _readings(train(_run(_fresh(monitor, every=4))))
    first, second = _run(_fresh(monitor, every=4)), _run(_fresh(monitor, every=4))
    tape = train(first, until=6)
    second.restore(first.files())
    for uninterrupted, continued in zip_longest(whole, _readings(train(second, tape)), fillvalue="nothing"):
        if uninterrupted != continued:
            yield f"It reported {continued}, expected {uninterrupted}."


def broken_weights_are_survived(monitor: Monitor) -> Iterator[str]:
    """Weights that are NaN, infinite or zero, and gradients that are zero, do not make it raise."""
    for what, value, lr in (
        ("NaN", float("nan"), 0.1),
        ("infinite", float("inf"), 0.1),
        ("zero, with zero gradients", 0.0, 0.0),
    ):
        for breach in _watched_run(monitor, prepare=lambda run, value=value: _fill(run, value), lr=lr)[1]:  # type: ignore[misc]
            yield f"With weights that are {what}: {breach}"


LAWS: tuple[Law, ...] = (
    *OPTION_LAWS,
    declarations_are_sound,
    observing_succeeds,
    observing_changes_nothing,
    reports_when_due,
    layers_are_respected,
    copies_share_no_state,
    state_is_saved_whole,
    broken_weights_are_survived,
)


class _Watch(Dispatch):
    """A dispatch that looks at what happens around every event. `breaches` is filled by `law`."""

    def __init__(self, run: Run, tape: Tape, law: Callable[[Any, Any], Iterator[str]]) -> None:
        super().__init__(run.monitors, (), tape)  # type: ignore[arg-type]
        self.run, self.tape, self.law, self.breaches = run, tape, law, list[str]()

    def emit(self, event: Event, own: dict[str, float]) -> list[Decision]:
        """As always, with the law asked before and after."""
        before = everything(self.run)
        states = [monitor.state_dict() for monitor in self.monitors]
        decisions = super().emit(event, own)
        for failure in self.tape.of("monitor-failed"):
            _raise_again(self.monitors[0], states[0], event, failure["reason"])
        self.breaches += [
            f"At {type(event).__name__} {event.step}: {b}" for b in self.law(before, everything(self.run))
        ]
        return decisions


def _raise_again(monitor: Monitor, state: dict[str, Any], event: Event, reason: str) -> None:
    """Repeat a failed observation, for its traceback."""
    monitor.load_state_dict(state)
    try:
        monitor.observe(event)
    except Exception as error:
        error.add_note(f"at {type(event).__name__} {event.step}")
        raise
    raise AssertionError(f"At {type(event).__name__} {event.step} it failed with {reason}.")


def _untouched(before: Any, after: Any) -> Iterator[str]:
    yield from (f"it changed {name}." for name in changed(before, after))


def _watched_run(
    monitor: Monitor,
    *,
    law: Callable[[Any, Any], Iterator[str]] = lambda before, after: iter(()),
    prepare: Callable[[Run], None] = lambda run: None,
    lr: float = 0.1,
    **changes: Any,
) -> tuple[Tape, list[str]]:
    """The records of a tiny run with one monitor, and the breaches of a law around its events."""
    run, tape = _run(_fresh(monitor, **changes), lr=lr), Tape()
    prepare(run)
    watch = _Watch(run, tape, law)
    train(run, tape, dispatch=watch)
    return tape, watch.breaches


def _run(monitor: Monitor | None, *, lr: float = 0.1) -> Run:
    return tiny_run(optimizer=TinyDescent(lr=lr), monitors=() if monitor is None else (monitor,))


def _fresh(monitor: Monitor, **changes: Any) -> Monitor:
    """The same options, no state; it looks at every step unless told otherwise."""
    return type(monitor)(**{**monitor.model_dump(), "every": 1, **changes})


def _readings(tape: Tape) -> list[str]:
    return [repr(record) for record in tape.of("reading")]


def _apart(one: Run, other: Run) -> list[str]:
    return changed(everything(one), everything(other))


def _fill(run: Run, value: float) -> None:
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.fill_(value)
