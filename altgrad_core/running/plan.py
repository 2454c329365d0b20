"""A plan: a recipe resolved on one model, with all that its operands remember."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from altgrad_core.contracts.actions import Role
from altgrad_core.errors import AltgradError, RunError
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.running.attach import attach, detach, linear_layers
from altgrad_core.running.operand import Moment, Operand
from altgrad_core.running.recipe import Rule, assign, matches


class Param(NamedTuple):
    """A parameter of a model, its path, and the live grid of its values, or None where it is not quantized."""

    path: str
    tensor: nn.Parameter
    geometry: Geometry | None


class Switch(NamedTuple):
    """One operand that changed its format."""

    layer: str
    role: Role
    before: str
    after: str


class Plan:
    """The quantized layers of one model. Made by `quantize_model`.

    A training loop of one's own calls `step()` after every optimizer step, and `model.eval()` before evaluation.
    """

    def __init__(self, model: nn.Module, rules: Sequence[Rule], *, seed: int, find: Callable[[str], Format]) -> None:
        self.model, self.moment, self._find = model, Moment(seed), find
        layers = linear_layers(model)
        self.layers = {
            path: {role: Operand(path, role, q, self.moment, layers[path].weight.device) for role, q in roles.items()}
            for path, roles in assign(rules, list(layers)).items()
        }
        self._formats = {operand.format.name: operand.format for operand in self.operands()}
        for path, operands in self.layers.items():
            attach(layers[path], operands)
            if "weight" in operands:
                operands["weight"].measure(layers[path].weight)

    def operands(self, pattern: str = "*") -> Iterator[Operand]:
        """Every operand of the layers that match a pattern, in model order."""
        for path, operands in self.layers.items():
            if matches(pattern, path):
                yield from operands.values()

    def params(self) -> list[Param]:
        """All parameters of the model, each once."""
        geometry = self.geometry()
        return [Param(path, tensor, geometry.get(tensor)) for path, tensor in self.model.named_parameters()]

    def geometry(self) -> dict[Tensor, Geometry]:
        """The live grid of every quantized weight."""
        modules = dict(self.model.named_modules())
        return {
            modules[path].weight: operands["weight"].geometry
            for path, operands in self.layers.items()
            if "weight" in operands and not operands["weight"].format.is_identity
        }

    def step(self) -> None:
        """An optimizer step is over."""
        for operand in self.operands():
            operand.advance()
        self.moment.step += 1

    def switch(self, pattern: str, role: Role, name: str) -> list[Switch]:
        """Move one role of the matching layers to another format; the operands that changed."""
        format = self.format(name)
        switched = []
        for operand in self.operands(pattern):
            if operand.role == role and operand.format != format:
                switched.append(Switch(operand.path, role, operand.format.name, format.name))
                operand.switch(format)
        return switched

    def format(self, name: str) -> Format:
        """A format of the recipe, or an installed one."""
        if name.lower() not in self._formats:
            self._formats[name.lower()] = self._find(name)
        return self._formats[name.lower()]

    def remove(self) -> None:
        """Make every layer of the model an ordinary one again."""
        modules = dict(self.model.named_modules())
        for path in self.layers:
            detach(modules[path])

    def state_dict(self) -> dict[str, Any]:
        """Formats in force, scales and histories, as plain data."""
        return {
            path: {role: operand.state_dict() for role, operand in operands.items()}
            for path, operands in self.layers.items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            RunError: it is of another plan, or names a format that is not installed.
        """
        ours = {(path, role) for path, operands in self.layers.items() for role in operands}
        theirs = {(path, role) for path, roles in state.items() for role in roles}
        if ours != theirs:
            path, role = sorted(ours ^ theirs)[0]
            raise RunError(f"the saved plan is of another recipe: they differ in the {role} of {path}")
        for path, roles in state.items():
            for role, saved in roles.items():
                try:
                    format = self.format(saved["format"])
                except AltgradError as error:
                    raise RunError(
                        f"the saved plan has the {role} of {path} in a format that is missing: {error}"
                    ) from None
                self.layers[path][role].load_state_dict(saved, format)
