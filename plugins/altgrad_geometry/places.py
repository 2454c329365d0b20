"""Monitors of where weights lie on their grids."""

from __future__ import annotations

from typing import ClassVar

from pydantic import PositiveInt

from altgrad_core import Backpropagated, Monitor, Reading, Readings


class Stiffness(Monitor):
    """Width of the grid cells that hold the weights, and the narrowest cells' share.

    S(w) is the distance between the two rungs around w (on a rung: that one and the next away from zero), in units of
    the weight, at the scale of the last forward pass.

    - `stiffness-mean`, `stiffness-min`, `stiffness-max`: over the elements. S doubles from binade to binade, so the
      widest cells rule the mean.
    - `stiffness-q10`, `stiffness-median`, `stiffness-q90`: the smallest S that 10, 50, 90 % of the elements do not
      exceed; always one that occurs.
    - `narrowest-fraction`: elements at the smallest spacing of the format, where it is a fixed-point one; 1 on a
      uniform grid.

    Elements that are not finite are left out; so is a weight without any other.
    """

    name: ClassVar = "stiffness"
    reads_grids: ClassVar = True
    on: ClassVar = Backpropagated
    reports: ClassVar = (
        "stiffness-mean",
        "stiffness-min",
        "stiffness-q10",
        "stiffness-median",
        "stiffness-q90",
        "stiffness-max",
        "narrowest-fraction",
    )

    every: PositiveInt = 100

    def observe(self, event: Backpropagated) -> Readings:
        """Seven readings by layer."""
        from altgrad_geometry.fields import smallest_gap, stiffness_statistics
        from altgrad_geometry.tables import by_reading

        rows = {}
        for weight in event.weights(self.layers):
            if (geometry := weight.geometry) is not None:
                narrowest = smallest_gap(geometry.line.grid.values, geometry.scale)
                rows[weight.path] = stiffness_statistics(weight.after, geometry.spacing(weight.after), narrowest)
        return by_reading(self.readings(), rows)


class GridAlignment(Monitor):
    """Distance of weights from their nearest rungs, in cell widths.

    a = |w - Q(w)| / S(w), at the scale of the last forward pass: 0 on a rung, 1/2 in the middle of a cell, more only
    beyond the ends of the grid. Weights that know nothing of the grid have a mean of about 1/4.

    - `grid-alignment-mean`; `grid-alignment-q10`, `grid-alignment-median`, `grid-alignment-q90`: the smallest a that
      10, 50, 90 % of the elements do not exceed.
    - `on-grid-fraction`: elements that are a rung, exactly.

    Elements that are not finite are left out; so is a weight without any other.
    """

    name: ClassVar = "grid-alignment"
    reads_grids: ClassVar = True
    on: ClassVar = Backpropagated
    reports: ClassVar = (
        "grid-alignment-mean",
        "grid-alignment-q10",
        "grid-alignment-median",
        "grid-alignment-q90",
        "on-grid-fraction",
    )

    every: PositiveInt = 100

    def observe(self, event: Backpropagated) -> Readings:
        """Five readings by layer."""
        from altgrad_geometry.fields import alignment_statistics
        from altgrad_geometry.tables import by_reading

        rows = {}
        for weight in event.weights(self.layers):
            if (geometry := weight.geometry) is not None and (rungs := weight.rungs_after) is not None:
                nearest, spacing = geometry.value(rungs), geometry.spacing(weight.after)
                rows[weight.path] = alignment_statistics(weight.after, nearest, spacing)
        return by_reading(self.readings(), rows)


class CodeUse(Monitor):
    """How many rungs of its format a weight uses, and how evenly.

    Of the histogram of nearest rungs, at the scale of the last forward pass; +0 and -0 are one rung.

    - `code-use`: rungs that at least one element rounds to, over all rungs of the format.
    - `code-entropy`: -sum p log2 p, in bits (Shannon, 1948); at most log2 of the number of rungs.
    - `code-ends-fraction`: elements on the lowest or the highest rung.

    Elements that are not finite are left out; so is a weight without any other.
    """

    name: ClassVar = "code-use"
    reads_grids: ClassVar = True
    on: ClassVar = Backpropagated
    reports: ClassVar = (
        Reading("code-use", "range use (share of rungs in use)", "share", worse="down", chart="bar"),
        Reading("code-entropy", unit="bits", worse="down"),
        Reading("code-ends-fraction", unit="share", worse="up"),
    )

    every: PositiveInt = 100

    def observe(self, event: Backpropagated) -> Readings:
        """Three readings by layer."""
        from altgrad_geometry.fields import code_statistics
        from altgrad_geometry.tables import by_reading

        rows = {}
        for weight in event.weights(self.layers):
            if (geometry := weight.geometry) is not None and (rungs := weight.rungs_after) is not None:
                ends = geometry.lowest_rung, geometry.highest_rung
                rows[weight.path] = code_statistics(weight.after, rungs, ends)
        return by_reading(self.readings(), rows)
