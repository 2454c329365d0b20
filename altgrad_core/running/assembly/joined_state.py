"""The states of several optimizers as one, in the layout that torch gives the state of any optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

State = dict[Any, Any]


def joined(states: Sequence[State]) -> State:
    """One state of several; parameters are numbered through, keys of no parameter begin with the member's number."""
    whole: State = {"state": {}, "param_groups": []}
    offset = 0
    for number, own in enumerate(states):
        for key, value in own["state"].items():
            whole["state"][key + offset if isinstance(key, int) else f"{number}/{key}"] = value
        for group in own["param_groups"]:
            whole["param_groups"].append({**group, "params": [index + offset for index in group["params"]]})
        whole |= {f"{number}/{key}": value for key, value in own.items() if key not in ("state", "param_groups")}
        offset += sum(len(group["params"]) for group in own["param_groups"])
    return whole


def parted(whole: State, counts: Sequence[Sequence[int]]) -> list[State]:
    """The inverse of `joined`. What the parameters are called is no matter, as in torch: their order in the groups counts.

    Args:
        counts: for each member, how many parameters each of its groups has.

    Raises:
        ValueError: the groups are others.
    """
    result = [len(group["params"]) for group in whole["param_groups"]]
    expected = [count for own in counts for count in own]
    if result != expected:
        raise ValueError(f"the saved optimizer has groups of {result} parameters; expected {expected}")
    states, groups = [], iter(whole["param_groups"])
    for number, own in enumerate(counts):
        mine, prefix = [next(groups) for _ in own], f"{number}/"
        names = [name for group in mine for name in group["params"]]
        state: State = {index: whole["state"][name] for index, name in enumerate(names) if name in whole["state"]}
        positions = iter(range(len(names)))
        numbered = [{**group, "params": [next(positions) for _ in group["params"]]} for group in mine]
        states.append(
            {
                "state": {**state, **_of_no_parameter(whole["state"], prefix)},
                "param_groups": numbered,
                **_of_no_parameter(whole, prefix),
            }
        )
    return states


def _of_no_parameter(part: State, prefix: str) -> State:
    return {
        key.removeprefix(prefix): value
        for key, value in part.items()
        if isinstance(key, str) and key.startswith(prefix)
    }
