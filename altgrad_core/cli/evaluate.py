"""`altgrad evaluate TARGET --recipe FILE`: the loss of a model under recipes, without training."""

from __future__ import annotations

import csv as csv_module
import io
import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from altgrad_core.cli.options import JsonOption, NoImportsOption, SetOption
from altgrad_core.text import as_bytes, cell

if TYPE_CHECKING:
    from altgrad_core.running.evaluation.subject import Measured

TargetArgument = Annotated[
    Path,
    typer.Argument(
        metavar="TARGET",
        help="The directory of a run, a manifest whose \\[model] is evaluated as built, or a directory that "
        "save_pretrained wrote, with --set data.use=NAME.",
    ),
]
BatchesOption = Annotated[int, typer.Option(min=1, help="The most validation batches.")]
CalibrateOption = Annotated[int, typer.Option(min=1, help="Training batches for the history of delayed scaling.")]


def evaluate(
    target: TargetArgument,
    recipe: Annotated[
        list[Path] | None,
        typer.Option(
            "--recipe", help="A file with \\[\\[recipe]] tables. Repeatable; the recipe of TARGET by default."
        ),
    ] = None,
    set: SetOption = None,
    batches: Annotated[
        int | None, typer.Option(min=1, help="The most validation batches; run.evaluate_batches of TARGET by default.")
    ] = None,
    calibrate: CalibrateOption = 8,
    no_imports: NoImportsOption = False,
    layers: Annotated[bool, typer.Option("--layers", help="Also print the errors of every layer.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the table, with every layer, to this file.")] = None,
    json: JsonOption = False,
) -> None:
    """Measure TARGET unquantized and with each recipe, without training: loss, metrics, bits, layer errors."""
    from altgrad_core.errors import ManifestError
    from altgrad_core.records.output_place import check_output_place, write_output
    from altgrad_core.records.record import encode_record
    from altgrad_core.registry.registry import installed
    from altgrad_core.running.evaluation.targets import recipe_of
    from altgrad_core.running.evaluation.targets import target as find

    if csv is not None:
        check_output_place(csv, option="--csv")
    recipes = {_name(path, recipe or []): recipe_of(path, installed()) for path in recipe or []}
    subject, own = find(
        target, installed(), settings=set or (), batches=batches, calibrate=calibrate, imports=not no_imports
    )
    if not recipes and not own:
        raise ManifestError(f"{target}: has no recipe of its own; name one or several with --recipe FILE")
    result = [subject.plain()]
    result += [subject.measure(name, rules, errors=True) for name, rules in recipes.items() or [("its own", own)]]
    if csv is not None:
        write_output(csv, as_bytes(_csv(result)))
    if json:
        print(json_module.dumps(json_module.loads(encode_record({"recipes": [m.plain() for m in result]})), indent=2))
        return
    print_measured(result, unit=subject.task.unit, layers=layers)


def _name(path: Path, all_of_them: list[Path]) -> str:
    """The stem of a file, or its path where another has the same stem."""
    return path.stem if [other.stem for other in all_of_them].count(path.stem) == 1 else str(path)


def print_measured(result: list[Measured], *, unit: str, layers: bool = False) -> None:
    """The table of losses, on how many batches, and the errors of layers."""
    from rich.markup import escape
    from rich.table import Table

    from altgrad_core.cli.console import Console

    console, metrics = Console(), list(result[0].metrics)
    table = Table("recipe", "bits", f"loss ({unit})", "above unquantized", *metrics, box=None, pad_edge=False)
    for one in result:
        parts = [f"{one.metrics[name]:.4f}" for name in metrics]
        table.add_row(
            escape(one.name), f"{one.bits:.2f}", f"{one.loss:.4f}", f"{one.loss - result[0].loss:+.4f}", *parts
        )
    console.print(table)
    batches = len(result[0].each)
    console.print(f"on {batches} validation batch{'' if batches == 1 else 'es'}", highlight=False)
    worst = [(one, max(one.layers, key=lambda layer: layer.output or 0.0)) for one in result if one.layers]
    for one, layer in worst if not layers else []:
        console.print(
            f"{escape(one.name)}: the output of {escape(layer.layer)} is off the most, by {_share(layer.output)}",
            highlight=False,
        )
    for one, _ in worst if layers else []:
        table = Table(
            f"layer ({escape(one.name)})", "error of the weight", "error of the output", box=None, pad_edge=False
        )
        for layer in one.layers:
            table.add_row(escape(layer.layer), _share(layer.weight), _share(layer.output))
        console.print("", table, sep="\n")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _csv(result: list[Measured]) -> str:
    """One row for each recipe, with an empty layer, and one for each of its layers."""
    text = io.StringIO()
    metrics = list(result[0].metrics)
    writer = csv_module.writer(text, lineterminator="\n")
    writer.writerow(["recipe", "layer", "bits", "loss", *metrics, "weight_error", "output_error"])
    for one in result:
        writer.writerow([cell(one.name), "", one.bits, one.loss, *one.metrics.values(), "", ""])
        for layer in one.layers:
            writer.writerow(
                [cell(one.name), cell(layer.layer), "", "", *("" for _ in metrics), layer.weight, layer.output]
            )
    return text.getvalue()
