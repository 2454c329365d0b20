"""The layers of a model that can be quantized, and the class that makes a module quantize its operands, in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from altgrad_core.contracts.actions import MOMENTS, Role
from altgrad_core.contracts.layer import LayerSpec, Product
from altgrad_core.contracts.pattern import matches
from altgrad_core.errors import ManifestError, PluginError
from altgrad_core.numerics.tracing import is_traced, is_transformed, not_traced
from altgrad_core.running.model.moment import Moment, version_of
from altgrad_core.running.model.rounders import rounder_of

OF_MOMENTS = frozenset(MOMENTS)
OF_A_TYPE = ("__dict__", "__weakref__")  # what every type has of its own
STATE = "altgrad"
"""The key of the metadata of a module's `state_dict`."""


@dataclass(frozen=True)
class Layer:
    """One product of one module.

    Attributes:
        paths: all paths of the product, `path` first; several where a module stands at several places.
        module: which has the product.
        spec: its kind.
    """

    paths: tuple[str, ...]
    module: nn.Module
    spec: LayerSpec
    product: Product

    @property
    def path(self) -> str:
        """The first path, under which it is recorded."""
        return self.paths[0]

    @property
    def weight(self) -> Tensor | None:
        """The weight as it is now, if it has one."""
        return weight_of(self.module, self.product)

    @property
    def roles(self) -> tuple[Role, ...]:
        """What a rule can quantize: the operands, and what an optimizer keeps of a weight that it trains."""
        return (*self.product.roles, *(MOMENTS if isinstance(self.weight, nn.Parameter) else ()))

    def is_selected(self, pattern: str) -> bool:
        """Whether a rule with this pattern means this layer: `*` and `blocks.*` leave out kinds that must be named."""
        parts = [part.strip() for part in pattern.split("|")]
        meant = [part for part in parts if part != "*" or self.spec.in_star]
        if not self.spec.in_last_star:
            meant = [part for part in meant if part.rpartition(".")[2] != "*"]
        return any(matches(part, path) for part in meant for path in self.paths)


def weight_of(module: nn.Module, product: Product) -> Tensor | None:
    """The weight of a product of a module as it is now, if it has one."""
    if product.weight is None:
        return None
    place, _, name = product.weight.rpartition(".")
    return read_weight(module.get_submodule(place), name)


def read_weight(module: nn.Module, name: str, *default: None) -> Any:
    """An attribute of a module, which may be computed. The state of a parametrization stays as it is.

    In training, that of `spectral_norm` takes a step of its power iteration whenever it is read.
    """
    if "parametrizations" not in module._modules:
        return getattr(module, name, *default)
    training = [part for part in module.parametrizations.modules() if part.training]  # type: ignore[union-attr]
    try:
        for part in training:
            part.training = False
        return getattr(module, name, *default)
    finally:
        for part in training:
            part.training = True


def layers_of(model: nn.Module, specs: Iterable[LayerSpec]) -> dict[str, Layer]:
    """Every layer of the model that some kind adapts, by path, in model order; of several kinds the last one.

    Raises:
        PluginError: a kind names a weight that its module does not have.
    """
    paths: dict[nn.Module, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(module, []).append(path)
    result = {}
    kinds = list(specs)[::-1]
    for module, own in paths.items():
        spec = next((spec for spec in kinds if spec.adapts(module)), None)
        for product in spec.products(module) if spec else ():
            _check_weight(spec, module, product)
            layer = Layer(tuple(_joined(path, product.name) for path in own), module, spec, product)  # type: ignore[arg-type]
            result[layer.path] = layer
    return result


def _check_weight(spec: LayerSpec | None, module: nn.Module, product: Product) -> None:
    """Whether the weight of a product exists. It is not computed: parametrizations can have state that this would change."""
    if spec is None or product.weight is None:
        return
    place, _, name = product.weight.rpartition(".")
    try:
        owner = module.get_submodule(place)
    except AttributeError:
        owner = None
    if owner is None or name not in dir(owner):
        names = ", ".join(name for name, _ in module.named_parameters()) or "none"
        raise PluginError(
            f'layer "{spec.name}": products names the weight "{product.weight}", which {type(module).__name__} does not have; '
            f"its parameters: {names}"
        )


def _joined(path: str, name: str) -> str:
    return ".".join(part for part in (path, name) if part)


@dataclass
class Quantized:
    """What a quantized module knows.

    Attributes:
        spec: its kind.
        moment: where training stands.
        products: the operands of each of its products.
        is_plain: whether its forward pass is an ordinary one: only moments are quantized.
        versions: of the weights of a copy, when it was made.
    """

    spec: LayerSpec
    moment: Moment
    products: dict[str, Mapping[Role, Any]] = field(default_factory=dict)
    is_plain: bool = True
    versions: list[int | None] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Of the first of its products."""
        return next(operand.path for operand in self.operands())

    def operands(self) -> Iterator[Any]:
        """The operands of all products."""
        for operands in self.products.values():
            yield from operands.values()

    def state_dict(self) -> dict[str, Any]:
        """The step, and what the operands remember, by product and role."""
        products = {
            product: {role: operand.state_dict(tensors=True) for role, operand in operands.items()}
            for product, operands in self.products.items()
        }
        return {"step": self.moment.step, "products": products}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what operands of the same product and role remembered; of another format only the history."""
        self.moment.load(state["step"])
        for product, operands in self.products.items():
            for role, operand in operands.items():
                saved = state["products"].get(product, {}).get(role)
                if saved is not None and saved["format"] == operand.format.facts():
                    operand.load_state_dict(saved, operand.format)
                elif saved is not None:
                    operand.adopt(saved)


class QuantizedModule(nn.Module):
    """The first base of the class of every quantized module; the other one is the class that the module was."""

    plain: ClassVar[type[nn.Module]]
    quantized: Quantized

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The quantized forward pass of its kind."""
        if self.quantized.is_plain:
            return type(self).plain.forward(self, *args, **kwargs)
        if is_traced() and is_transformed():
            return self._hidden(*args, **kwargs)
        return self._rounded(*args, **kwargs)

    def _rounded(self, *args: Any, **kwargs: Any) -> Any:
        if self.quantized.moment.is_copy and not is_traced() and self._versions() != self.quantized.versions:
            self.quantized.moment.notice_copy(self.quantized.path, training=self.training)
        remembers = self.training or self.quantized.moment.is_calibrating
        return self.quantized.spec.forward(self, rounder_of(self.quantized.products, remembers), *args, **kwargs)

    @not_traced
    def _hidden(self, *args: Any, **kwargs: Any) -> Any:
        """As `_rounded`, and no part of a graph: torch.compile has no `vmap` and no `grad` of operations that remember."""
        return self._rounded(*args, **kwargs)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Scales and histories travel in the metadata of a state_dict, which has no key for them: plain models load it."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if (metadata := getattr(destination, "_metadata", None)) is not None:
            metadata.setdefault(prefix[:-1], {})[STATE] = self.quantized.state_dict()

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args, **kwargs)
        if STATE in local_metadata:
            self.quantized.load_state_dict(local_metadata[STATE])

    def _versions(self) -> list[int | None]:
        """How often each of its weights changed."""
        return [version_of(parameter) for parameter in self.parameters()]

    def __setstate__(self, state: Any) -> None:
        """Of a copy, by pickle or not."""
        super().__setstate__(state)
        self.quantized.versions = self._versions()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A class made on the fly is found again by the class that it was made from."""
        return _empty, (type(self).plain,), self.__getstate__()


def attach(layer: Layer, operands: Mapping[Role, Any], moment: Moment) -> None:
    """Make a layer quantize its operands. Hooks, references and parameters of its module stay as they are."""
    module = layer.module
    if not isinstance(module, QuantizedModule):
        plain: Any = type(module)
        module.__class__ = _quantized_class(plain)
        vars(module)["quantized"] = Quantized(layer.spec, moment)
    assert isinstance(module, QuantizedModule)
    quantized = module.quantized
    quantized.products[layer.product.name] = operands
    quantized.is_plain = quantized.is_plain and operands.keys() <= OF_MOMENTS


def detach(module: nn.Module) -> None:
    """Make a quantized module again what it was."""
    if isinstance(module, QuantizedModule):
        del module.quantized
        make_plain(module)


def make_plain(module: QuantizedModule) -> Callable[[], None]:
    """Give a quantized module the class that it had, below one that a later parametrization put on top; what undoes it."""
    own = type(module)
    module.__class__ = _plain_class(own)  # type: ignore[assignment]
    return lambda: setattr(module, "__class__", own)


def _plain_class(own: type[QuantizedModule]) -> type[nn.Module]:
    """The class without rounding; what a parametrization put on top is made again, as copies of the module share that class."""
    if "plain" in vars(own):
        return own.plain
    bases = tuple(base.plain if "plain" in vars(base) else base for base in own.__bases__)  # type: ignore[attr-defined]
    return type(own.__name__, bases, {name: value for name, value in vars(own).items() if name not in OF_A_TYPE})


def refuse_unfit(model: nn.Module) -> None:
    """A model is quantized once, and with all of its weights.

    Raises:
        ManifestError: it is quantized already, or a lazy layer has no weight yet.
    """
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ManifestError(f"{name} has no shape yet: call the model once, so that its lazy layers get weights")
    for path, module in model.named_modules():
        if isinstance(module, QuantizedModule):
            raise ManifestError(f"layer {path} is quantized already; quantize_model takes a model once")


def refusals_of(model: nn.Module, specs: Iterable[LayerSpec]) -> dict[str, str]:
    """Why modules cannot be quantized, by path."""
    kinds = list(specs)
    found = {path: next((why for kind in kinds if (why := kind.refusal(m))), None) for path, m in model.named_modules()}
    return {path: why for path, why in found.items() if why is not None}


def quantized_modules(model: nn.Module) -> list[QuantizedModule]:
    """Every quantized module of a model, each once."""
    return [module for module in model.modules() if isinstance(module, QuantizedModule)]


@cache
def _quantized_class(plain: type[nn.Module]) -> type[QuantizedModule]:
    return type(f"Quantized{plain.__name__}", (QuantizedModule, plain), {"plain": plain, "__doc__": plain.__doc__})


def _empty(plain: Any) -> QuantizedModule:
    made = _quantized_class(plain)
    return made.__new__(made)
