"""A plan: a recipe resolved on one model, with all that its operands remember."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from altgrad_core.contracts.actions import MOMENTS, Role
from altgrad_core.contracts.layer import LayerSpec
from altgrad_core.contracts.pattern import matches
from altgrad_core.errors import FormatError, ManifestError, RunError
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.tracing import not_traced
from altgrad_core.running.model.coverage import Coverage, coverage
from altgrad_core.running.model.fused_paths import close_fused_paths, reopen_fused_paths
from altgrad_core.running.model.history import advance
from altgrad_core.running.model.hugging_face import write_directory
from altgrad_core.running.model.layers import (
    Layer,
    attach,
    detach,
    layers_of,
    quantized_modules,
    refusals_of,
    refuse_unfit,
)
from altgrad_core.running.model.layout import Layout
from altgrad_core.running.model.moment import Moment
from altgrad_core.running.model.notices import StepNotices, thin
from altgrad_core.running.model.operand import Operand
from altgrad_core.running.model.optimizer_state import round_moments
from altgrad_core.running.model.own_weights import bake as bake_weights
from altgrad_core.running.model.own_weights import (
    left_out,
    own_weights,
    refuse_rotated,
    rotated_weights,
    weights_by_name,
)
from altgrad_core.running.model.param import Param, params_of
from altgrad_core.running.model.plan_state import restore
from altgrad_core.running.model.program_params import params_of_program
from altgrad_core.running.model.quantized_file import write_quantized, written_recipe
from altgrad_core.running.model.recipe import Rule, assign
from altgrad_core.running.model.replicas import reduce_seen
from altgrad_core.running.model.switch import Switch, check_switch, switched
from altgrad_core.running.model.unwrapped import optimizer_of, warn_of_stranger
from altgrad_core.running.model.weight_operands import weight_operands

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class Plan:
    """The quantized layers of one model. Made by `quantize_model`.

    A training loop of one's own calls `step()` after every optimizer step, or `attach(optimizer)` once, and
    `model.eval()` before evaluation. Scales and histories travel in the metadata of the model's `state_dict`.
    """

    def __init__(
        self,
        model: nn.Module,
        rules: Sequence[Rule],
        *,
        kinds: Sequence[LayerSpec],
        find: Callable[[str], Format],
        seed: int = 0,
        replicas: Callable[[], ProcessGroup | None] = lambda: None,
    ) -> None:
        self.model, self.moment, self._find, self.kinds = model, Moment(seed), find, tuple(kinds)
        refuse_unfit(model)
        self.known = layers_of(model, kinds)
        self.layers = {
            path: {role: self._operand(self.known[path], role, q) for role, q in roles.items()}
            for path, roles in assign(rules, self.known, refusals_of(model, kinds)).items()
        }
        self._formats: dict[str, Format] = {}
        for operand in self.operands():
            self._know(operand.format)
        try:
            for path, operands in self.layers.items():
                attach(self.known[path], operands, self.moment)
            close_fused_paths(model)
            self._measure()
        except BaseException:
            self.remove()
            raise
        self._replicas, self._notices = replicas, StepNotices()
        self._place_among_replicas()
        self._has_star = any(rule.layers.strip() == "*" for rule in rules)

    def _place_among_replicas(self) -> ProcessGroup | None:
        """The processes that hold replicas, if any; the noise of activations and gradients is this one's from now on."""
        group = self._replicas()
        self.moment.replica = 0 if group is None else group.rank()
        return group

    def _operand(self, layer: Layer, role: Role, quantizer: Quantizer) -> Operand:
        tensor = layer.weight if layer.weight is not None else next(layer.module.parameters(), None)
        device = torch.device("cpu") if tensor is None or tensor.is_meta else tensor.device
        layout = Layout(layer.product.contraction("weight" if role in MOMENTS else role))
        return Operand(layer.path, role, quantizer, self.moment, device, layout=layout)

    def _measure(self) -> None:
        """Take the scales of the weights as they are."""
        for path, operands in self.layers.items():
            if "weight" in operands and (weight := self.weight(path)) is not None and not weight.is_meta:
                try:
                    operands["weight"].measure(weight)
                except FormatError as error:
                    raise FormatError(f"the weight of {path} cannot be quantized: {error}") from None

    def weight(self, path: str) -> Tensor | None:
        """The weight of a layer as it is now, or None where it has none."""
        return self.known[path].weight

    def operands(self, pattern: str = "*") -> Iterator[Operand]:
        """Every operand of the layers that match a pattern, in model order."""
        for path, operands in self.layers.items():
            if matches(pattern, path):
                yield from operands.values()

    def coverage(self, *args: Any, **kwargs: Any) -> Coverage:
        """Which share of the model is quantized, and what is not and why.

        Args:
            *args: what the model can be called with; its multiply-adds are counted in one forward pass, which
                leaves no trace. Without, only parameters are.
            **kwargs: the same, by name.
        """
        weights = {path: "weight" in own for path, own in self.layers.items() if not own.keys() <= set(MOMENTS)}
        return coverage(self.model, self.known, weights, self.kinds, (args, kwargs) if args or kwargs else None)

    def __repr__(self) -> str:
        return f"<plan of {len(self.layers)} layers: {', '.join(sorted({f'{o.role} {o.format.name}' for o in self.operands()}))}>"

    def _repr_html_(self) -> str:
        return self.coverage()._repr_html_()

    def thin_coverage(self) -> str | None:
        """What to warn of, where a rule says `*` and yet less than half of the matrices is quantized."""
        has_weights = any("weight" in operands for operands in self.layers.values())
        return thin(self.coverage()) if self._has_star and has_weights else None

    def params(self, program: nn.Module | None = None) -> list[Param]:
        """All parameters of the model, each once; or those of the module of a `training_program` of it, with the scales of that."""
        rotated = rotated_weights(self.known, self.layers).values()
        own = params_of(self.model, self.geometry(), self.moment, rotated=rotated)
        return own if program is None else params_of_program(own, weight_operands(self.layers, self.weight), program)

    def geometry(self) -> dict[Tensor, Geometry]:
        """The live grid of every quantized weight.

        Raises:
            ManifestError: layers that share one weight quantize it differently.
        """
        return {weight: operand.geometry for weight, operand in weight_operands(self.layers, self.weight).items()}

    def attach(self, optimizer: Optimizer) -> None:
        """From now on every step of `optimizer`, or of the one it wraps, rounds its moments and calls `step()`; see `optimizer_of`.

        Of several optimizers that were attached, the last one alone calls `step()`.
        """
        stepped = optimizer_of(self.moment, optimizer)
        warn_of_stranger(stepped, self.model)
        if not self.moment.is_attached_to(stepped):
            self.round_moments_of(stepped)
        self.moment.attach(stepped, stepped.register_step_post_hook(self._after_step))

    def round_moments_of(self, optimizer: Optimizer) -> None:
        """From now on every step of `optimizer` rounds the moments that it keeps."""
        optimizer.register_step_post_hook(self._round_moments)

    def _round_moments(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        round_moments(self.layers, self.weight, optimizer)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._step(is_skipped=False)

    def step(self, *, is_skipped: bool = False) -> None:
        """An optimizer step is over, or was left out. An attached optimizer says itself that one is over, and this is refused."""
        if self.moment.attached and not is_skipped:
            raise RunError("plan.step(): an attached optimizer says itself when a step is over; leave this call out")
        self._step(is_skipped=is_skipped)

    @not_traced
    def _step(self, *, is_skipped: bool) -> None:
        operands = list(self.operands())
        trained = (path for path in self.layers if (w := self.weight(path)) is not None and w.requires_grad)
        for problem in self._notices.of(operands, trained, is_skipped=is_skipped):
            warnings.warn(problem, stacklevel=4)
        if (group := self._place_among_replicas()) is not None and operands:
            reduce_seen(operands, group)
        advance(operands)
        self.moment.step, self.moment.passed = self.moment.step + 1, None

    def switch(
        self, pattern: str, role: Role, to: str | Mapping[str, str], *, leaving: Sequence[str] = ()
    ) -> list[Switch]:
        """Move one role of the matching layers, but for those of `leaving`, to another format; what changed.

        Args:
            to: the name of the format, or that for each present format; others stay.

        Raises:
            ManifestError: no layer matches, there is no such role, or `to` is none of these.
            PluginError: there is no such format.
            FormatError: it is the identity, which has no grid for an optimizer to walk on.
        """
        check_switch(self.known, pattern, role, to)
        operands = [one for one in self.operands(pattern) if one.role == role and one.path not in leaving]
        return switched(operands, to, self.format)

    def format(self, name: str) -> Format:
        """A format of the recipe, or an installed one."""
        if name.lower() not in self._formats:
            self._formats[name.lower()] = self._find(name)
        return self._formats[name.lower()]

    def _know(self, format: Format) -> None:
        known = self._formats.setdefault(format.name, format)
        if known.facts() != format.facts():
            raise ManifestError(
                f'two formats of this recipe are called "{format.name}": {known.facts()} and {format.facts()}; '
                "give one of them another name"
            )

    def export(self, path: str | Path, *, layout: Literal["altgrad", "huggingface"] = "altgrad") -> None:
        """Write the model as codes and scales.

        Args:
            path: what to write; missing directories above it are made.
            layout: `altgrad`, a file for `load_quantized`, or `huggingface`, a directory for `from_pretrained`, without
                the rounding of activations; see `quantized_file.py` and `hugging_face.py`.

        Raises:
            RunError: the layout has no place for this model or recipe, or `path` cannot be written.
        """
        if layout not in ("altgrad", "huggingface"):
            raise RunError(f'layout is "{layout}"; expected altgrad or huggingface')
        own, m = own_weights(self.model, self.known, self.layers), self.moment
        named = weights_by_name(self.model, self.known, self.layers)
        refuse_rotated(own if layout == "altgrad" else named)
        if layout == "huggingface":
            write_directory(Path(path), self.model, named, left_out(named, self.layers))
        else:
            more = {"recipe": written_recipe(self.layers), "state": self.state_dict(), "seed": m.seed, "phase": m.phase}
            write_quantized(Path(path), self.model, own, more)

    def remove(self, *, bake: bool = False) -> None:
        """Make every layer of the model an ordinary one again; this plan has none from then on.

        Args:
            bake: leave the values of the weights that an evaluation reads now. Weights that layers share and do not
                all round alike, and weights computed from other parameters, are left as they are, and warned of.
        """
        if bake:
            bake_weights(self.model, self.known, self.layers)
        for module in quantized_modules(self.model):
            detach(module)
        reopen_fused_paths(self.model)
        self.layers.clear()

    def state_dict(self) -> dict[str, Any]:
        """Formats in force, scales, histories and counts, as plain data."""
        operands = {
            path: {role: operand.state_dict() for role, operand in operands.items()}
            for path, operands in self.layers.items()
        }
        return {"step": self.moment.step, "operands": operands}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            RunError: it is of another plan, or names a format that is not installed or is another one here.
        """
        self.moment.load(restore(self.layers, state, self.format))

    def adopt(self, state: dict[str, Any]) -> None:
        """Take over from the state of another plan what does not depend on its formats: the histories of amax.

        Weights that live on a grid keep its scale where the format is the same; others are measured.
        """
        self.moment.load(state["step"])
        self._measure()
        for path, operands in self.layers.items():
            for role, operand in operands.items():
                if (saved := state["operands"].get(path, {}).get(role)) is not None:
                    operand.adopt(saved)
