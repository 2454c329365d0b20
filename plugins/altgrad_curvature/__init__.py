"""Curvature: how sharply the loss bends around the weights, without quantization."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from altgrad_core import WHOLE_MODEL, Backpropagated, Monitor, Readings, Weight, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class Curvature(Monitor):
    """Top eigenvalues and trace of the Hessian, for the float32 twin.

    They come from Hessian-vector products; no matrix is formed.

    Of the weight matrices of all watched layers together (`"*"`), everything else held fixed; with `each_layer`, of
    each by itself. One product costs about three unquantized steps, and a report at most `probes + eigenvalues *
    iterations` products (Yao, Gholami, Keutzer, Mahoney, "PyHessian", 2020): some 80 steps by default, so that a report
    every 5000 steps costs less than 2 % of the run. In a shorter one give it a smaller `every`.

    - `hessian-top-1` to `-4`: the `eigenvalues` of largest magnitude, with their signs.
    - `hessian-residual`: the largest |Hv - kv| of these pairs; a true eigenvalue is no further away from each.
    - `hessian-trace`: Hutchinson's estimate from `probes` random vectors.
    - `hessian-trace-error`: its standard error; absent with one probe.

    What is not finite is absent. The random vectors come from a generator of their own, seeded by the step.

    Options:
        eigenvalues: how many, of largest magnitude; 0 for none.
        iterations: the most products for each of them.
        tolerance: of the residual, as a share of the eigenvalue; the iteration ends there.
        probes: random vectors for the trace; 0 for none.
        each_layer: of each layer by itself in place of all together.
    """

    name: ClassVar = "curvature"
    on: ClassVar = Backpropagated
    reports: ClassVar = (
        "hessian-top-1", "hessian-top-2", "hessian-top-3", "hessian-top-4",
        "hessian-residual", "hessian-trace", "hessian-trace-error",
    )  # fmt: skip
    every: PositiveInt = 5000
    eigenvalues: NonNegativeInt = Field(default=1, le=4)
    iterations: int = Field(default=20, ge=2)
    tolerance: PositiveFloat = 0.01
    probes: NonNegativeInt = 8
    each_layer: bool = False

    @model_validator(mode="after")
    def _something_is_measured(self) -> Self:
        if not self.eigenvalues and not self.probes:
            raise ValueError("eigenvalues and probes are both 0: there is nothing to measure")
        return self

    def readings(self) -> tuple[str, ...]:
        """What the options ask for."""
        tops = [f"hessian-top-{place}" for place in range(1, self.eigenvalues + 1)]
        residual = ["hessian-residual"] if tops else []
        trace = ["hessian-trace", "hessian-trace-error"][: min(self.probes, 2)]
        return (*tops, *residual, *trace)

    def observe(self, event: Backpropagated) -> Readings:
        """What the options ask for, of the whole model or by layer."""
        watched: dict[int, Weight] = {}  # tied weights once
        for weight in event.weights(self.layers):
            if weight.gradient is not None and weight.after.numel():
                watched.setdefault(weight.after.data_ptr(), weight)
        weights = {weight.path: weight.after for weight in watched.values()}
        groups = (
            {path: {path: weight} for path, weight in weights.items()} if self.each_layer else {WHOLE_MODEL: weights}
        )
        readings: Readings = {}
        for name, group in groups.items():
            for reading, value in self._measure(event, group).items():
                readings.setdefault(reading, {})[name] = value
        return readings

    def _measure(self, event: Backpropagated, weights: dict[str, Tensor]) -> dict[str, float]:
        from altgrad_core import derive_key
        from altgrad_curvature.hessian import FlatHessian, hutchinson, largest_eigenvalues

        if not weights:
            return {}
        shapes = {path: weight.shape for path, weight in weights.items()}
        hessian = FlatHessian(event.hvp, shapes, device=next(iter(weights.values())).device)
        seed = partial(derive_key, event.step, "curvature", *shapes)
        result = largest_eigenvalues(
            hessian, self.eigenvalues, iterations=self.iterations, tolerance=self.tolerance, seed=seed("power")
        )
        values = {f"hessian-top-{place}": pair.value for place, pair in enumerate(result, start=1)}
        if result:
            values["hessian-residual"] = max(pair.residual for pair in result)
        trace, error = hutchinson(hessian, self.probes, seed=seed("trace"))
        values |= {"hessian-trace": trace, "hessian-trace-error": error}
        return {reading: value for reading, value in values.items() if isfinite(value)}


@hookimpl
def altgrad_monitors() -> Iterable[type[Monitor]]:
    """The monitor of this package."""
    yield Curvature
