"""What a watch is given, or the message that says what it should have been."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

from torch import Tensor

from altgrad_core.errors import ManifestError, RunError

STATE = ("told", "broke", "monitors", "layers", "records_size", "records_sha256")


def number(loss: Any, call: str) -> float:
    """A loss as a number.

    Raises:
        RunError: it is none.
    """
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return float(loss.detach())
    if isinstance(loss, Tensor):
        raise RunError(f"watch.{call}: the loss has shape {tuple(loss.shape)}; expected one number, as loss.mean()")
    try:
        return float(loss)
    except (TypeError, ValueError):
        raise RunError(f"watch.{call}: the loss is {loss!r}; expected one number") from None


def check_losses(losses: tuple[Any, ...]) -> None:
    """Whether each can be called for its share of the loss.

    Raises:
        RunError: one cannot.
    """
    for loss in losses:
        if not callable(loss) or isinstance(loss, Tensor):
            raise RunError(
                f"watch.twin: got a {type(loss).__name__}; expected a function that computes the loss again, as "
                "lambda: loss_of(model, batch)"
            )


def scalar(loss: Callable[[], Any]) -> Callable[[], Tensor]:
    """The loss of a twin, which must be a tensor of one number."""

    def call() -> Tensor:
        result = loss()
        if not isinstance(result, Tensor) or result.numel() != 1:
            what = f"a tensor of shape {tuple(result.shape)}" if isinstance(result, Tensor) else repr(result)
            raise RunError(f"watch.twin: the function returned {what}; expected the loss, a tensor of one number")
        return result

    return call


def whole(steps: Any) -> int:
    """A number of steps.

    Raises:
        ManifestError: it is none.
    """
    if not isinstance(steps, Integral) or isinstance(steps, bool) or steps < 0:
        raise ManifestError(
            f"watch: steps is {steps!r}; expected the number of optimizer steps, or 0 if it is not known"
        )
    return int(steps)


def check_state(state: Any, where: object) -> None:
    """Whether this is the state of a watch.

    Raises:
        RunError: it is not.
    """
    missing = [key for key in STATE if not isinstance(state, Mapping) or key not in state]
    if missing:
        raise RunError(
            f"{where}: this is no state of a watch, {missing[0]} is missing; pass what watch.state_dict() returned"
        )
