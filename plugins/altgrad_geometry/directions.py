"""Monitors of gradients and steps against the spacing of the grid."""

from __future__ import annotations

from typing import ClassVar

from pydantic import PositiveInt

from altgrad_core import Backpropagated, Monitor, Readings, Updated


class GradientStiffness(Monitor):
    """Correlation of gradient magnitude with grid spacing: log |g| and log S(w).

    It is Pearson's: positive where gradients are larger on wider parts of the grid.

    Over the elements with a gradient that is neither zero nor infinite nor NaN, with the weights at which it was taken.
    Absent where either does not vary, so always on a uniform grid.
    """

    name: ClassVar = "gradient-stiffness"
    reads_grids: ClassVar = True
    on: ClassVar = Backpropagated

    every: PositiveInt = 100

    def observe(self, event: Backpropagated) -> Readings:
        """The correlation by layer."""
        from altgrad_geometry.steps import gradient_stiffness
        from altgrad_geometry.tables import by_reading

        rows = {
            weight.path: gradient_stiffness(weight.after, weight.gradient, weight.geometry.spacing(weight.after))
            for weight in event.weights(self.layers)
            if weight.geometry is not None and weight.gradient is not None
        }
        return by_reading(self.readings(), rows)


class BitSpace(Monitor):
    """Whether steps are equal in rungs or equal in value.

    du = |u(after) - u(before)| in rungs, interpolated between them, and dw = |after - before|, both sides at the scale
    in force when the step was taken; of the elements that moved:

    - `bit-space-slope`: the slope b of the least-squares line log du = a + b log S(before). 0: the length of a step in
      rungs has nothing to do with where the weight is (uniform in bit space); -1: its length in weight space has not,
      as for AdamW, whose weights in wide cells then stall. Absent where S does not vary, so on a uniform grid.
    - `bit-space-cv`, `weight-space-cv`: coefficients of variation (population standard deviation over mean) of du and
      of dw; where the first is the smaller one, steps are more alike in rungs than in value.
    - `bit-space-below-half`: of the elements with a non-zero gradient, those that moved by less than half a rung. For
      an optimizer that rounds, this is the step that was applied, not the intended one.

    Elements that are not finite on both sides are left out.
    """

    name: ClassVar = "bit-space"
    reads_grids: ClassVar = True
    needs: ClassVar = frozenset({"before"})
    reports: ClassVar = ("bit-space-slope", "bit-space-cv", "weight-space-cv", "bit-space-below-half")

    every: PositiveInt = 100

    def observe(self, event: Updated) -> Readings:
        """Four readings by layer."""
        from altgrad_geometry.steps import step_statistics
        from altgrad_geometry.tables import by_reading

        rows = {}
        for weight in event.weights(self.layers):
            before, geometry = weight.before, weight.geometry
            if before is not None and geometry is not None:
                positions = geometry.position(before), geometry.position(weight.after)
                pair, spacing = (before, weight.after), geometry.spacing(before)
                rows[weight.path] = step_statistics(pair, positions, spacing, weight.gradient)
        return by_reading(self.readings(), rows)
