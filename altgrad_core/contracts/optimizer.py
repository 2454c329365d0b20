"""An optimizer plugin: options, and a plain `torch.optim.Optimizer` made of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from altgrad_core.contracts.options import Options

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from altgrad_core.numerics.geometry import Geometry


class OptimizerSpec(Options):
    """The options of an optimizer. A subclass sets `name`, declares its options (`lr` among them) and writes `build`.

    Attributes:
        plain_rate: the option that is the rate of parameters that are not quantized; reports say where two optimizers
            train them at different rates. None: it has none.
        controls: options whose values a report compares to tell one cause from another, and what that shows.
    """

    plain_rate: ClassVar[str | None] = None
    controls: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """An ordinary `torch.optim.Optimizer`.

        Args:
            groups: parameter groups as torch takes them; biases and gains stand in one with `weight_decay` 0.
            geometry: for every quantized weight, the live view of its grid. Keep it as an attribute of the optimizer,
                never in `param_groups` or `state`, so that its `state_dict` stays plain data.

        The run sets `group["lr"]` before every step to `group["initial_lr"]` times the schedule. Random numbers come
        from torch's default generator, which the run seeds before every step from (seed, step).
        """

    def width_power(self, *, is_hidden: bool, is_matrix: bool, on_grid: bool) -> float | None:
        """The power of the width with which a rate must go, so that a step changes activations alike at every width.

        It is that of the maximal update parametrization (G. Yang et al., 2203.03466, table 8), of a model that marks its
        modules with `WidthScaling`: 0 means that the rate stays. None, as here: not known, and such a model is refused.

        Args:
            is_hidden: whether both dimensions of the parameters grow with it.
            is_matrix: whether they have two dimensions or more.
            on_grid: whether they are quantized.
        """
        return None

    def names_formats(self) -> Iterable[str]:
        """The formats it steps along by name; each must be installed and have a grid."""
        return ()

    @staticmethod
    def split(groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry], **plain: Any) -> list[dict[str, Any]]:
        """Each group as two: parameters on a grid (`plain=False`), and all others (`plain=True`, with the keys `plain`).

        A key that the group has itself, such as the `weight_decay` of 0 for biases, stays as it is; `lr` does not.
        """
        parts = []
        for group in groups:
            on_grid = [p for p in group["params"] if p in geometry]
            others = [p for p in group["params"] if p not in geometry]
            if on_grid:
                parts.append({**group, "params": on_grid, "plain": False})
            if others:
                rate = {"lr": plain["lr"]} if "lr" in plain else {}
                parts.append({**plain, **group, **rate, "params": others, "plain": True})
        return parts
