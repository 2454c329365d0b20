"""An optimizer from any import path: `use = "torch.optim:NAdam"`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin

import torch
from pydantic import ConfigDict, create_model
from torch import Tensor, nn
from torch.optim import Optimizer

from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.errors import ManifestError, PluginError, reason_of
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.running.assembly.import_path import imported
from altgrad_core.running.state.serialize import pack

Groups = list[dict[str, Any]]
_AS_ADAM = (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax)


class Refusal(NamedTuple):
    """Why options cannot be used; the key that is to blame, or none where it is not one alone."""

    key: tuple[str, ...]
    message: str


class ImportedOptimizer(OptimizerSpec):
    """A class of `torch.optim.Optimizer`; its fields are the parameters of the constructor, but the first."""

    made: ClassVar[type[Optimizer]]

    def written(self) -> dict[str, Any]:
        """The options that were given; defaults are the constructor's own."""
        return self.model_dump(mode="json", exclude_unset=True)

    def width_power(self, *, is_hidden: bool, is_matrix: bool, on_grid: bool) -> float | None:
        """Known of torch's own optimizers that move every element by about the rate, and of its SGD."""
        if self.made in _AS_ADAM:
            return -1.0 if is_hidden else 0.0
        return (0.0 if is_hidden else 1.0) if self.made is torch.optim.SGD else None

    def refusal(self) -> Refusal | None:
        """Why nothing can be trained with these options, as one step on a small matrix shows; None where it can."""
        options = self._options()
        needed = {key for key, field in type(self).model_fields.items() if field.is_required()}

        def failure(keys: Iterable[str]) -> str | None:
            return self._trial({key: options[key] for key in keys}, torch.ones(3, 2))

        reason = failure(options)
        if reason is None:
            return None
        for key in () if failure(needed) else options:
            if alone := failure({*needed, key}):
                return Refusal((key,), f"{self.name} {alone}")
        return Refusal((), f"{self.name} {reason}")

    def build(self, groups: Groups, geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """The optimizer.

        Raises:
            ManifestError: it cannot train parameters of one of these numbers of dimensions.
        """
        by_size = sorted((p for group in groups for p in group["params"]), key=Tensor.numel, reverse=True)
        for dimensions, smallest in {p.dim(): p for p in by_size}.items():
            if reason := self._trial(self._options(), smallest):
                raise ManifestError(f"{self.name}, given {_another_for(dimensions, reason)}")
        return self._make(self._options(), groups)

    def _options(self) -> dict[str, Any]:
        return {key: value for key, value in self if key in self.model_fields_set}

    def _make(self, options: dict[str, Any], groups: Groups) -> Optimizer:
        if not isinstance(self, _TakesAll) and "weight_decay" not in type(self).model_fields:
            groups = [{key: value for key, value in group.items() if key != "weight_decay"} for group in groups]
        return self.made(groups, **options)

    def _trial(self, options: dict[str, Any], like: Tensor) -> str | None:
        """What goes wrong when a copy of one parameter is trained for one step."""
        parameter = nn.Parameter(torch.ones_like(like))
        parameter.grad = torch.ones_like(like)
        doing = "cannot be made"
        with torch.random.fork_rng(devices=[]):
            try:
                optimizer = self._make(options, [{"params": [parameter]}])
                if not all("lr" in group for group in optimizer.param_groups):
                    return _NO_RATE
                doing = "cannot take a step on dense gradients without a closure"
                optimizer.step()
                doing = "has state that cannot be saved"
                pack(optimizer.state_dict(), {}, "state")
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # code of a plugin, before the first step
                return f"{doing}: {reason_of(error)}"
        return None


class _TakesAll(ImportedOptimizer):
    """One whose constructor has `**options`."""

    model_config = ConfigDict(extra="allow")


_NO_RATE = 'has no "lr" in its parameter groups, through which a run sets the rate of every step'


def imported_optimizer(use: str) -> type[ImportedOptimizer]:
    """The spec of the optimizer class at an import path.

    Raises:
        PluginError: there is none, it is no optimizer, or its rate cannot be set.
    """
    cls = imported(use)
    if not (isinstance(cls, type) and issubclass(cls, Optimizer)):
        raise PluginError(f'"{use}" is {cls!r}; expected a class derived from torch.optim.Optimizer')
    parameters = _signature(cls)[1:]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    fields: dict[str, Any] = {
        p.name: (_type(p), ... if p.default is p.empty else p.default)
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        if not p.name.startswith("_") and not hasattr(ImportedOptimizer, p.name)
    }
    if "lr" not in fields and not takes_all:
        raise PluginError(f'{use} takes no "lr", through which a run sets the rate of every step')
    base = _TakesAll if takes_all else ImportedOptimizer
    spec = create_model(cls.__name__, __base__=base, __doc__=cls.__doc__, **fields)
    spec.name, spec.made = use, cls
    return spec


def _signature(cls: type) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(cls, eval_str=True).parameters.values())
    except Exception:  # an annotation that only a type checker can evaluate; it stays text, and says nothing
        return list(inspect.signature(cls).parameters.values())


def _type(parameter: inspect.Parameter) -> Any:
    """What a manifest may give for a parameter; a pair is an array there."""
    plain = _plain(parameter.annotation)
    if plain is Any and parameter.name == "lr":
        return float
    return tuple[Any, ...] if plain is Any and isinstance(parameter.default, tuple) else plain


def _plain(hint: Any) -> Any:
    """A type as far as a manifest can write it: of `float | Tensor`, `float`; `Any` for what is no plain data."""
    parts = [_plain(part) for part in get_args(hint) if part is not Tensor]
    if get_origin(hint) in (Union, UnionType):
        return Any if Any in parts else Union[tuple(parts)]  # noqa: UP007
    if get_origin(hint) in (tuple, list) and parts:
        return get_origin(hint)[tuple(parts)]
    return hint if hint in (bool, int, float, str, NoneType, ...) or get_origin(hint) is Literal else Any


def _another_for(dimensions: int, reason: str) -> str:
    """What was given and what came of it, with the group that would help."""
    if dimensions < 2:
        group = 'layers = "*", only = "vectors" and use = "torch.optim:AdamW"'
        return f"vectors to train, {reason}; add an [[optimizer.group]] with {group}"
    return f"parameters of {dimensions} dimensions, {reason}; give their layers another optimizer: [[optimizer.group]]"
