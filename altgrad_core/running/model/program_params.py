"""The parameters of a program that trains, with the grids of its weights, as an optimizer takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from altgrad_core.errors import RunError
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.running.model.moment import Moment
from altgrad_core.running.model.operand import Operand
from altgrad_core.running.model.param import Param

STATE = "altgrad_state"
"""The name of the module of a program that has the number of the step and the memory of each operand."""


def state_of(module: nn.Module) -> nn.Module:
    """The module of a program that has the memory of its operands.

    Raises:
        RunError: `module` is not of a program that `training_program` made.
    """
    state: nn.Module | None = getattr(module, STATE, None)
    if state is None:
        raise RunError("expected the module of a program that training_program made; got one without its buffers")
    return state


def memory_name(operand: Operand) -> str:
    """The name of the module that has the memory of an operand."""
    return f"{operand.path}.{operand.role}".replace(".", "__")


class ProgramGrid:
    """What the geometry of a weight of a program is a view of: its scale is a buffer, which every forward pass updates."""

    def __init__(self, operand: Operand, memory: nn.Module) -> None:
        self.format: Format = operand.format
        self._operand, self._memory = operand, memory
        self._is_fixed: bool = operand.state_dict()["is_fixed"]

    @property
    def scales(self) -> Tensor:
        """The scale of every element, by broadcasting where that will do."""
        return self._operand.spread(self._memory.get_buffer("scale"))

    def fix_scale(self) -> None:
        """Nothing to do where the program was made with a fixed scale.

        Raises:
            RunError: it was not.
        """
        if not self._is_fixed:
            raise RunError(
                f"the optimizer keeps the weight of {self._operand.path} on its grid, but the program takes its scale anew in every "
                "step: make the optimizer of plan.params() first, and then the program"
            )


def params_of_program(params: Iterable[Param], operands: Mapping[Tensor, Operand], module: nn.Module) -> list[Param]:
    """The same parameters as those of a program.

    Args:
        params: those of the plan.
        operands: of each weight that has a grid.
        module: what `module()` of the program returned.

    Raises:
        RunError: it is of no program that `training_program` made, or of that of another model.
    """
    state, result = state_of(module), []
    for param in params:
        try:
            tensor = module.get_parameter(f"model.{param.path}")
            of = operands.get(param.tensor)
            memory = None if of is None else state.get_submodule(memory_name(of))
        except AttributeError:
            raise RunError(
                f"params: the program has no {param.path} as this plan; it is of another model or recipe"
            ) from None
        grid = None if of is None or memory is None else Geometry(ProgramGrid(of, memory))
        result.append(param._replace(tensor=tensor, geometry=grid, moment=_moment(state, param.moment)))
    return result


def _moment(state: nn.Module, of_plan: Moment | None) -> Moment | None:
    """Where the training of a program stands, for the random numbers of optimizers; `step_program` steps it."""
    if of_plan is not None and "moment" not in vars(state):
        step = state.get_buffer("step")
        vars(state)["moment"] = Moment(of_plan.seed, of_plan.phase, of_plan.step if step.is_meta else int(step))
    moment: Moment | None = vars(state).get("moment")
    return moment
