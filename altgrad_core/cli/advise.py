"""`altgrad advise TARGET --bits B`: a recipe for this model within a budget, measured, as a file and a page."""

from __future__ import annotations

import json as json_module
import math
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from altgrad_core.cli.evaluate import BatchesOption, CalibrateOption, TargetArgument
from altgrad_core.cli.options import JsonOption, NoImportsOption, SetOption
from altgrad_core.cli.terminal import say


def advise(
    target: TargetArgument,
    bits: Annotated[float | None, typer.Option(min=1, help="The largest mean number of bits of an operand.")] = None,
    loss_above: Annotated[
        float | None, typer.Option("--loss-above", min=0, help="The largest loss above that of the model as it is.")
    ] = None,
    format: Annotated[list[str] | None, typer.Option(help="A format to choose from. Repeatable.")] = None,
    granularity: Annotated[
        list[str] | None, typer.Option(help="What may share a scale: tensor, row, block:32. Repeatable.")
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(help="A role to advise on: weight, activation, gradient, query and others. Repeatable."),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="If a role is a gradient: measure the loss after this many steps.")
    ] = 4,
    out: Annotated[Path, typer.Option(help="The recipe file to write; the page is written beside it.")] = Path(
        "advised.toml"
    ),
    set: SetOption = None,
    batches: BatchesOption = 20,
    calibrate: CalibrateOption = 16,
    no_imports: NoImportsOption = False,
    json: JsonOption = False,
) -> None:
    """Find a format for each layer and role of TARGET within a budget, from the loss that each costs alone."""
    from altgrad_core.errors import AltgradError, ManifestError
    from altgrad_core.experiments.advice.page import sentence
    from altgrad_core.experiments.advice.write import write_advice
    from altgrad_core.records.output_place import check_output_place
    from altgrad_core.records.record import encode_record
    from altgrad_core.registry.registry import installed
    from altgrad_core.running.evaluation.advice import FORMATS, GRANULARITIES, Choices, asking, candidates_of
    from altgrad_core.running.evaluation.advise import advise_for
    from altgrad_core.running.evaluation.targets import target as find
    from altgrad_core.running.model.bits import FORWARD

    check_output_place(out)
    if out.suffix == ".html":
        raise ManifestError(
            f"--out {out}: is where the page would go; name a file for the recipe, such as advised.toml"
        )
    check_output_place(out.with_suffix(".html"))
    if (bits is None) == (loss_above is None):
        raise ManifestError("give one budget: --bits 6, or --loss-above 0.01")
    if loss_above == math.inf:
        raise ManifestError(
            "--loss-above inf: expected a finite loss, in nats above that without quantization, such as 0.01"
        )
    try:
        find_format = partial(installed().get, "format")
        choices = Choices(format or FORMATS, granularity or GRANULARITIES, role or FORWARD, steps)
        candidates = candidates_of(choices, find_format)
    except AltgradError as error:
        raise ManifestError(str(error)) from None
    subject, _ = find(
        target, installed(), settings=set or (), batches=batches, calibrate=calibrate, imports=not no_imports
    )
    subject = asking(subject, choices)
    advice = advise_for(subject, candidates, bits=bits, loss_above=loss_above, tell=_tell)
    page = write_advice(advice, out, name=target.name)
    if json:
        points = [
            {"name": p.name, "uniform": p.is_uniform, "bits": p.bits, "loss": p.loss, "calibration_loss": p.seen}
            for p in advice.points
        ]
        data = {"advised": advice.advised.name, "plain": advice.plain, "points": points, "recipe": advice.recipe()}
        print(
            json_module.dumps(json_module.loads(encode_record({**data, "out": str(out), "page": str(page)})), indent=2)
        )
        return
    say(f"{sentence(advice)}\nrecipe: {out}\npage: {page}")


def _tell(done: int, total: int) -> None:
    """Say how far it is, ten times in all."""
    if total >= 10 and done % (total // 10) == 0:
        say(f"measured {done} of {total}", err=True)
