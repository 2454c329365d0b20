"""The schema of `[matrix.search]`: which rates, or which random settings, a study tries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from altgrad_core.contracts.options import Table
from altgrad_core.manifest.merge import location_of


class RangeTable(Table):
    """What a random search draws the value of one key from; exactly one of these, each the lowest and the highest value.

    Attributes:
        times: factors on the value a cell has there, uniform on a logarithmic scale.
        log: values, uniform on a logarithmic scale.
        linear: values, uniform.
        whole: whole numbers, uniform.
    """

    times: tuple[PositiveFloat, PositiveFloat] | None = None
    log: tuple[PositiveFloat, PositiveFloat] | None = None
    linear: tuple[float, float] | None = None
    whole: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _is_one_range(self) -> RangeTable:
        options = {
            name: ends for name in ("times", "log", "linear", "whole") if (ends := getattr(self, name)) is not None
        }
        if len(options) != 1:
            raise ValueError("a range has exactly one of times, log, linear, whole, such as log = [1e-4, 1e-2]")
        ((name, (low, high)),) = options.items()
        if not low < high:
            raise ValueError(f"{name} goes from {low} to {high}; the first must be the smaller one")
        return self


class SearchTable(Table):
    """`[matrix.search]`: which rates, or which random settings, are tried for every combination.

    Attributes:
        key: the learning rate that is searched: that of the optimizer, or of one of its groups.
        factors: times the value a cell has there.
        samples: random settings in place of `factors`: as many, the first of which is what the cell has itself. All
            combinations draw the same numbers from 0 to 1, which `ranges` turns into values.
        ranges: by key, what its values are drawn from; `key` is among them.
        seed: of the draws.
        keep: all are tried with the first seed; then all seeds take so many around the best rate, or the best settings.
            All, by default.
        spacing: the factor between those that all seeds take; that of `factors`, by default. A smaller one tells optimizers
            apart that differ by less than a coarse grid of rates costs.
        recentre: how many further rates all seeds take, at most, where their best one is the lowest or the highest of those
            they took. With a `keep` of 2 or more, and not in a random search.
        bisections: how often the gap between the largest rate that did not diverge, and the smallest that did, is halved
            (on a logarithmic scale, with the first seed); 0 does not look for it.
    """

    key: str = "optimizer.lr"
    factors: Annotated[list[PositiveFloat], Field(min_length=1)] = [0.1, 0.316, 1.0, 3.16, 10.0]
    samples: PositiveInt | None = None
    ranges: dict[str, RangeTable] = {}
    seed: NonNegativeInt = 0
    keep: PositiveInt | None = None
    spacing: float | None = Field(default=None, gt=1)
    recentre: NonNegativeInt = 2
    bisections: NonNegativeInt = 0

    @property
    def tried(self) -> int:
        """How many rates or settings the first seed tries."""
        return len(self.factors) if self.samples is None else self.samples

    @property
    def further(self) -> int:
        """How many rates all seeds may take beyond those that are kept."""
        return self.recentre if (self.keep or 0) > 1 and self.samples is None else 0

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that are searched."""
        return (self.key,) if self.samples is None else tuple(self.ranges)

    @field_validator("key")
    @classmethod
    def _is_a_rate(cls, key: str) -> str:
        parts = location_of(key)
        if len(parts) < 2 or (parts[0], parts[-1]) != ("optimizer", "lr"):
            raise ValueError(
                f'"{key}" is not a learning rate: search "optimizer.lr" or that of a group, such as "optimizer.group[0].lr"; '
                "other keys can be axes of the matrix, or have ranges in a random search (samples, ranges)"
            )
        return key

    @model_validator(mode="after")
    def _spaces_what_is_kept(self) -> SearchTable:
        if len(set(self.factors)) < len(self.factors):
            raise ValueError("factors has one twice")
        if self.spacing is not None and self.keep is None:
            raise ValueError("spacing is that of the rates which `keep` asks for; set keep too, such as keep = 3")
        if self.keep is None and "recentre" in self.model_fields_set:
            raise ValueError("recentre goes beyond the rates which `keep` asks for; set keep too, such as keep = 3")
        return self

    @model_validator(mode="after")
    def _is_one_kind_of_search(self) -> SearchTable:
        if (self.samples is None) != (not self.ranges):
            raise ValueError(
                "samples and ranges belong together: how many random settings, and what they are drawn from"
            )
        if self.samples is None:
            return self
        if extra := sorted({"factors", "spacing", "recentre", "bisections"} & self.model_fields_set):
            raise ValueError(f"a random search (samples) has no {', '.join(extra)}; leave it out")
        if self.key not in self.ranges:
            raise ValueError(
                f'ranges lacks the learning rate, "{self.key}", which identifies a setting; add "{self.key}" = '
                "{ times = [0.1, 10.0] }"
            )
        return self
