"""The shape of every kind of record: which keys it has, and what their values are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from altgrad_core.records.record import number

MOST_NESTED = (
    16  # tables and lists within each other; beyond them, whatever walks through a record may run out of stack
)
Test = Callable[[Any], bool]


def is_sound(record: Any) -> bool:
    """Whether this is a record: of a known shape, or of an unknown kind with a sound `step`, if it has one."""
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str) or not _is_step(record.get("step", 0)):
        return False
    needed, optional = NEEDED.get(record["kind"], {}), OPTIONAL.get(record["kind"], {})
    return (
        all(key in record and test(record[key]) for key, test in needed.items())
        and all(test(record[key]) for key, test in optional.items() if key in record)
        and _is_shallow(record)
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        number(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_instance(value: Any) -> bool:
    return isinstance(value, int | str)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_is_number, value))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_table_of_numbers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_number, value.values()))


def _is_shallow(value: Any, left: int = MOST_NESTED) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left > 0 and all(_is_shallow(each, left - 1) for each in inner if isinstance(each, dict | list))


_ACTION = {"step": _is_step, "intervention": _is_text, "action": _is_text, "because": _is_text}
_ABOUT_A_LAYER = {"layer": _is_text_or_none, "instance": _is_instance}
NEEDED: Mapping[str, Mapping[str, Test]] = {
    "began": {"name": _is_text, "steps": _is_step},
    "resumed": {"step": _is_step, "steps": _is_step},
    "step": {"step": _is_step, "loss": _is_number, "learning_rate": _is_number, "gradient_norm": _is_number},
    "evaluation": {"step": _is_step, "loss": _is_number},
    "recipe-evaluation": {"step": _is_step, "recipe": _is_text, "loss": _is_number, "bits": _is_number},
    "blocks": {"step": _is_step, "losses": _are_numbers},
    "reading": {"step": _is_step, "monitor": _is_text, "reading": _is_text, "values": _is_table_of_numbers},
    "monitor-failed": {"step": _is_step, "monitor": _is_text, "reason": _is_text},
    "action": _ACTION,
    "overruled": _ACTION,
    "broke": {"step": _is_step, "phase": _is_text, "layer": _is_text, "role": _is_text_or_none, "what": _is_text},
    "ended": {"status": _is_text, "reason": _is_text_or_none},
    "clock": {"step": _is_step, "seconds": _is_number, "tokens_per_second": _is_number},
}
"""By kind, the keys that every record of it has, and what their values are."""

OPTIONAL: Mapping[str, Mapping[str, Test]] = {
    "step": {"learning_rates": _are_numbers},
    "evaluation": {"perplexity": _is_number},
    "recipe-evaluation": {"metrics": _is_table_of_numbers},
    "reading": {"instance": _is_instance},
    "monitor-failed": {"instance": _is_instance},
    "action": _ABOUT_A_LAYER,
    "overruled": _ABOUT_A_LAYER,
    "broke": {"gradient_zeros": _is_number, "layers_without_gradient": _are_texts},
}
"""By kind, what the values of further keys are that some records of it have."""
