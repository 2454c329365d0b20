"""A monitor that writes to what it is shown, in whatever way, is named; a strict run ends."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch

from altgrad_core.contracts.events import Backpropagated
from altgrad_core.contracts.monitor import Monitor, Readings
from altgrad_core.running.loop.untouched import ALWAYS, THEN_EVERY, Untouched, checksums

if TYPE_CHECKING:
    from tests.conftest import Said
    from tests.running.conftest import Runs

HEAD = "wte.weight"  # which the output layer shares


class Meddling(Monitor):
    """Writes to the output layer at two steps, in the way `write`."""

    name: ClassVar = "meddling"
    on: ClassVar = Backpropagated
    write: str
    at: int = 3

    def observe(self, event: Any) -> Readings:
        if event.step in (self.at, self.at + 2):
            WAYS[self.write][0](next(iter(event.weights("lm_head"))))
        return {"*": 1.0}


def _sorted_in_place(weight: Any) -> None:
    weight.after.detach().numpy().ravel().sort()


WAYS: dict[str, tuple[Callable[[Any], object], str]] = {
    "in place": (lambda w: w.after.mul_(0.5), HEAD),
    "through data": (lambda w: w.after.data.neg_(), HEAD),
    "one element": (lambda w: w.after.data.view(-1)[7:8].add_(1e-3), HEAD),
    "sorted by NumPy": (_sorted_in_place, HEAD),
    "rows change places": (lambda w: w.after.data.copy_(w.after.data.flip(0)), HEAD),
    "gradient": (lambda w: w.gradient.clamp_(-1e-4, 1e-4), f"the gradient of {HEAD}"),
    "gradient through NumPy": (lambda w: w.gradient.numpy().fill(0), f"the gradient of {HEAD}"),
}


def _watched(runs: Runs, way: str, at: int = 3) -> Runs:
    runs.offers = {"monitor": [Meddling]}
    head = runs.text[: runs.text.index("[[monitor]]")]
    runs.text = f'{head}\n[[monitor]]\nuse = "meddling"\nwrite = "{way}"\nat = {at}\n'
    return runs


def _warnings(runs: Runs) -> list[str]:
    return [record["message"] for record in runs.clock() if record["kind"] == "warning"]


@pytest.mark.parametrize("way", WAYS)
def test_a_monitor_that_writes_is_named_once(way: str, runs: Runs) -> None:
    assert _watched(runs, way).begin("run", "run.steps=6", "run.strict=false").status == "finished"
    assert _warnings(runs) == [
        f"monitor meddling wrote to {WAYS[way][1]} at step 3; a monitor only looks: from here on the run is no longer "
        "that of its manifest"
    ]


@pytest.mark.parametrize("way", WAYS)
def test_in_a_strict_run_it_ends_the_run_before_anything_of_it_is_saved(
    way: str, runs: Runs, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    _watched(runs, way, at=8)
    monkeypatch.setattr("altgrad_core.registry.registry.installed", runs.registry)
    said = altgrad("run", runs.manifest(), "--out", runs.folder / "run", "--set", "run.strict=true")
    assert said.code == 1
    assert said.err.splitlines()[-1] == (
        f"altgrad: monitor meddling wrote to {WAYS[way][1]} at step 8; a monitor only looks, and run.strict stops the run; "
        "remove this monitor"
    )
    assert runs.steps() == [6, 3]


def test_monitors_that_only_look_are_not_accused(runs: Runs) -> None:
    names = runs.registry().names("monitor")
    runs.text = runs.text[: runs.text.index("[[monitor]]")]
    runs.text += "".join(f'\n[[monitor]]\nuse = "{name}"\n' for name in names)
    assert runs.begin("run", "run.steps=4", "run.strict=true").status == "finished"
    assert _warnings(runs) == []


def test_the_contents_are_compared_around_the_first_looks_and_then_some_of_them() -> None:
    weight = torch.nn.Parameter(torch.arange(5000.0))
    untouched, seen = Untouched({"w": weight}, always=False), []
    for look in range(3 * THEN_EVERY):
        untouched.forget()
        before = untouched.before(observer=1)
        weight.data[11] += 1
        seen += [look] if untouched.written(before) == ["w"] else []
    assert seen == [*range(ALWAYS), THEN_EVERY, 2 * THEN_EVERY]


def test_what_one_monitor_wrote_is_not_laid_to_the_next() -> None:
    weight = torch.nn.Parameter(torch.arange(50.0))
    untouched = Untouched({"w": weight}, always=True)
    before = untouched.before(observer=1)
    weight.data[11] += 1
    assert untouched.written(before) == ["w"]
    assert untouched.written(untouched.before(observer=2)) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_checksum_is_that_of_the_bytes(dtype: torch.dtype) -> None:
    tensor = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert checksums([tensor.T]) == [zlib.crc32(tensor.T.contiguous().view(torch.uint8).numpy().tobytes())]
    sparse = torch.eye(3, dtype=dtype).to_sparse()
    assert checksums([sparse]) == checksums([torch.ones(3, dtype=dtype)])
