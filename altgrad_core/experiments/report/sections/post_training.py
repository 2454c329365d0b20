"""What the trained weights of each arm lose under other recipes."""

from __future__ import annotations

from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.evidence.statistics import student_interval
from altgrad_core.experiments.report.blocks import Block, table_of
from altgrad_core.experiments.report.view import View, mean
from altgrad_core.manifest.recipe_schema import UNQUANTIZED_NAME

COLUMNS = ("format", "variant", "optimizer", "evaluated under", "seeds", "loss", "above unquantized", "95 % interval")


def post_training_blocks(view: View) -> list[Block]:
    """A table with a row for each arm and recipe; nothing where no cell was evaluated under any."""
    rows = [row for arm in view.arms for row in _rows(view, arm)]
    if not rows:
        return []
    caption = (
        "The trained weights under the recipes of [[evaluate]], on the validation batches, without further training: the "
        f"loss, and by how much it is above that of the same weights without any rounding; in {view.study.unit}, with the "
        "interval of the mean over seeds by Student's t. Each arm is at its chosen rate."
    )
    return [table_of(COLUMNS, rows, caption)]


def _rows(view: View, arm: Arm) -> list[tuple[object, ...]]:
    cells = [cell.evaluations for cell in view.results(arm) if cell.status == "finished"]
    known = [losses for losses in cells if UNQUANTIZED_NAME in losses]
    names = sorted({name for losses in known for name in losses}, key=lambda name: (name != UNQUANTIZED_NAME, name))
    return [_row(arm, name, [losses for losses in known if name in losses]) for name in names]


def _row(arm: Arm, name: str, known: list[dict[str, float]]) -> tuple[object, ...]:
    loss, above, shown = mean(losses[name] for losses in known), None, None
    if name != UNQUANTIZED_NAME:
        differences = [losses[name] - losses[UNQUANTIZED_NAME] for losses in known]
        above, interval = f"{mean(differences):+.4f}", student_interval(differences)
        shown = None if interval is None else f"{interval.low:+.4f} to {interval.high:+.4f}"
    return arm.format, arm.variant, arm.optimizer, name, len(known), loss, above, shown
