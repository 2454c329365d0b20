"""The nine kinds of things a plugin can offer: hook, type, and how one item is checked and described."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from inspect import isabstract, isclass
from typing import Any

from altgrad_core.contracts.dataset import DatasetSpec
from altgrad_core.contracts.executor import ExecutorSpec
from altgrad_core.contracts.intervention import Intervention
from altgrad_core.contracts.layer import LayerSpec
from altgrad_core.contracts.model import ModelSpec
from altgrad_core.contracts.monitor import Monitor
from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.contracts.options import first_line
from altgrad_core.contracts.tracker import TrackerSpec
from altgrad_core.errors import PluginError
from altgrad_core.numerics.format import MOST_BITS, Float32, Format
from altgrad_core.numerics.minifloat import Minifloat

QUICK_BITS = 8  # tables up to here are computed when they are listed
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


SPECIALS = {
    "finite": "finite",
    "fn": "NaN only",
    "ieee": "IEEE 754",
    "fnuz": "one NaN",
    "p3109": "P3109",
}
"""The special values of a format in a few words, so that a row of a listing fits 80 columns."""


@dataclass(frozen=True)
class Kind:
    """One kind of thing.

    Attributes:
        name: singular, as in error messages and `--kind`.
        base: what every item must be.
        offers: `instances` or `subclasses` of `base`.
        describe: the sentence shown in listings.
    """

    name: str
    base: type
    offers: str
    describe: Callable[[Any], str]

    @property
    def hook(self) -> str:
        """The name of its hook."""
        return f"altgrad_{self.name}s"

    def check(self, item: object) -> str:
        """The name of a well-formed item.

        Raises:
            PluginError: it is not what this hook yields, or its name is no name.
        """
        if self.offers == "instances" and not isinstance(item, self.base):
            raise PluginError(f"{self.hook} yielded {item!r}; expected an instance of {self.base.__name__}")
        if self.offers == "subclasses" and not (isclass(item) and issubclass(item, self.base)):
            raise PluginError(f"{self.hook} yielded {item!r}; expected a subclass of {self.base.__name__}")
        if isclass(item) and isabstract(item):
            missing = ", ".join(sorted(getattr(item, "__abstractmethods__", ())))
            raise PluginError(f"{self.hook} yielded {item.__name__}, which does not define {missing}")
        if (
            isinstance(item, Format)
            and not isinstance(item, Minifloat | Float32)
            and not QUICK_BITS < item.bits <= MOST_BITS
        ):
            _ = item.grid  # a table that cannot be decoded is known now
        name = getattr(item, "name", None)
        if not isinstance(name, str) or not NAME.fullmatch(name.lower()):
            raise PluginError(
                f"{self.hook} yielded {item!r} with the name {name!r}; expected lower-case letters, digits, '.', '_', '-', "
                + ('set by name: ClassVar = "my-name"' if self.offers == "subclasses" else 'set by name = "my-name"')
            )
        return name.lower()


def _describe_format(format: Format) -> str:
    own = type(format).__dict__.get("__doc__") or ""
    if not isinstance(format, Minifloat):
        return first_line(own)
    sign = "" if format.signed else "unsigned, "
    shape = f"{format.exponent_bits} exponent, {format.mantissa_bits} mantissa bits"
    return f"{sign}{shape}, bias {format.bias}, {SPECIALS[format.specials]}"


def _describe_class(cls: Any) -> str:
    return str(cls.summary())


KINDS = {
    kind.name: kind
    for kind in (
        Kind("format", Format, "instances", _describe_format),
        Kind("optimizer", OptimizerSpec, "subclasses", _describe_class),
        Kind("monitor", Monitor, "subclasses", _describe_class),
        Kind("intervention", Intervention, "subclasses", _describe_class),
        Kind("model", ModelSpec, "subclasses", _describe_class),
        Kind("layer", LayerSpec, "subclasses", _describe_class),
        Kind("dataset", DatasetSpec, "subclasses", _describe_class),
        Kind("tracker", TrackerSpec, "subclasses", _describe_class),
        Kind("executor", ExecutorSpec, "subclasses", _describe_class),
    )
}
