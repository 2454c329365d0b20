"""Hooks of optimizers that are given a closure, which computes the gradients within the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def once_gradients_are_there(
    args: tuple[Any, ...], kwargs: dict[str, Any], act: Callable[[], None]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Call `act` before a step changes weights: now, or after the first call of the closure, as with LBFGS and Lightning.

    Args:
        args: of `step`, the optimizer first, as a pre-hook of it has them.

    Returns:
        What the pre-hook must return: the arguments of `step`, with a closure that calls `act`; None without a closure.
    """
    closure = kwargs.get("closure") or next(iter(args[1:]), None)
    if closure is None:
        act()
        return None
    calls = 0

    def acting() -> Any:
        nonlocal calls
        loss = closure()
        calls += 1
        if calls == 1:
            act()
        return loss

    return (args[0], acting, *args[2:]), {name: value for name, value in kwargs.items() if name != "closure"}
