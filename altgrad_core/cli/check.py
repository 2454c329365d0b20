"""`altgrad check MANIFEST`: assemble everything, take no step, print the plan."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from altgrad_core.cli.options import (
    MOST_CELLS,
    DeviceOption,
    ExecutorOption,
    JsonOption,
    ManifestArgument,
    MaxCellsOption,
    OutOption,
    SetOption,
    StepsOption,
    flags,
    refuse_without_matrix,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from altgrad_core.contracts.actions import Role
    from altgrad_core.experiments.matrix.cells import Matrix
    from altgrad_core.manifest.load import ManifestFile
    from altgrad_core.running.assembly.run import Run

MOST_PARAMETERS = 4


def check(
    manifest: ManifestArgument,
    set: SetOption = None,
    device: DeviceOption = None,
    steps: StepsOption = None,
    out: OutOption = None,
    table: Annotated[
        bool, typer.Option("--table", help="For a matrix: show formats, optimizers, layers and status.")
    ] = False,
    max_cells: MaxCellsOption = None,
    executor: ExecutorOption = None,
    json: JsonOption = False,
) -> None:
    """Assemble MANIFEST without training, and show what is quantized; for a matrix, its cells and their time."""
    from altgrad_core.errors import ManifestError
    from altgrad_core.manifest.load import load_manifest
    from altgrad_core.registry.registry import installed
    from altgrad_core.running.assembly.assemble import assemble
    from altgrad_core.running.assembly.resolve import resolve
    from altgrad_core.running.assembly.scripted import RUN, refuse_script

    if table and json:
        raise ManifestError("--json: the table has no JSON; leave out --table, or --json")
    if out is not None and not table:
        raise ManifestError("--out: is the directory whose cells --table shows; give --table too, or leave out --out")
    source = load_manifest(manifest, set or (), flags=flags(device=device, steps=steps, executor=executor))
    refuse_script(source.data, manifest, RUN)
    refuse_without_matrix(source, max_cells=max_cells)
    if "matrix" in source.data:
        from altgrad_core.experiments.matrix.cells import Matrix
        from altgrad_core.experiments.workers.choice import executor_spec

        executor_spec(source, installed())
        if table:
            _print_table(source, out, max_cells or MOST_CELLS)
        else:
            _check_cells(Matrix(source, installed(), most=max_cells or MOST_CELLS), as_json=json)
        return
    if table:
        raise ManifestError(f"--table: {manifest} has no [matrix]")
    print_plan(assemble(resolve(source, installed())), as_json=json)


def _print_table(source: ManifestFile, out: Path | None, most: int) -> None:
    """What has ended of the cells."""
    from altgrad_core.cli.matrix import print_table
    from altgrad_core.experiments.matrix.cells import name_of
    from altgrad_core.experiments.matrix.known import matrix_in
    from altgrad_core.records.directory import default_directory
    from altgrad_core.registry.registry import installed

    study = default_directory(name_of(source)) if out is None else out
    print_table(matrix_in(study, source, installed(), most=most), study)


def _check_cells(matrix: Matrix, *, as_json: bool) -> None:
    """The cells, and what they take."""
    from altgrad_core.cli.matrix import print_cells, print_estimate, print_power, print_registration

    print_cells(matrix, as_json=as_json)
    if not as_json:
        print_registration(matrix)
        print_power(matrix)
        print_estimate(matrix)


def print_plan(run: Run, *, as_json: bool) -> None:
    """The resolved plan of an assembled run."""
    facts = plan_facts(run)
    if as_json:
        print(json_module.dumps(facts, indent=2))
        return
    from altgrad_core.cli.console import Console
    from altgrad_core.contracts.actions import MOMENTS
    from altgrad_core.contracts.layer import APART, ATTENTION, PRODUCT

    console = Console()
    matrices = {path: layer for path, layer in facts["layers"].items() if layer["shape"]}
    console.print(_layer_table(matrices, PRODUCT))
    for roles in (APART, ATTENTION, MOMENTS):
        if used := [role for role in roles if any(role in layer for layer in facts["layers"].values())]:
            listed = {path: layer for path, layer in facts["layers"].items() if not layer.keys().isdisjoint(used)}
            console.print("", _layer_table(listed, used), sep="\n")
    console.print(f"\n{facts['coverage']}", highlight=False)
    console.print("", _group_table(facts["groups"]), sep="\n")
    console.print(
        f"\n{facts['name']}: {facts['steps']} steps of {facts['tokens_per_step']} {facts['counts']} "
        f"({facts['epochs']:.2f} epochs), {facts['parameters']:,} parameters, "
        f"{facts['optimizer']}, on {facts['device']}\n"
        f"monitors: {', '.join(facts['monitors']) or 'none'}; interventions: {', '.join(facts['interventions']) or 'none'}\n"
        f"a checkpoint takes about {facts['checkpoint_bytes'] / 1e6:.1f} MB"
    )


def _layer_table(layers: Mapping[str, Mapping[str, Any]], roles: Sequence[Role]) -> Table:
    """What layers are quantized to, in these roles."""
    from rich.table import Table

    has_shape = "weight" in roles
    table = Table("layer", *(["shape"] if has_shape else []), *roles, box=None, pad_edge=False)
    for path, layer in layers.items():
        shape = ["x".join(str(n) for n in layer["shape"])] if has_shape else []
        table.add_row(path, *shape, *(layer.get(role, "-") for role in roles))
    return table


def plan_facts(run: Run) -> dict[str, Any]:
    """The plan as plain data."""
    from altgrad_core.running.session.describe import task_facts

    layers: dict[str, dict[str, Any]] = {}
    for path, layer in run.plan.known.items():
        if path not in run.plan.layers and (layer.weight is None or not layer.is_selected("*")):
            continue
        layers[path] = {"shape": [] if layer.weight is None else list(layer.weight.shape)}
        for role, operand in run.plan.layers.get(path, {}).items():
            parts = [operand.format.name, str(operand.quantizer.scale_rule)]
            parts += [operand.quantizer.rounding] if operand.quantizer.rounding != "nearest-even" else []
            parts += [] if operand.quantizer.hadamard is None else [f"hadamard:{operand.quantizer.hadamard}"]
            layers[path][role] = " ".join(parts)
    return {
        "name": run.name,
        "steps": run.steps,
        "tokens_per_step": run.batches.tokens_per_step,
        "counts": task_facts(run.data.task)["counts"],
        "epochs": run.batches.epoch(run.steps),
        "parameters": run.parameters(),
        "vocabulary": run.data.vocabulary,
        "optimizer": run.resolved.optimizer.name,
        "groups": _group_facts(run),
        "device": str(run.device),
        "checkpoint_bytes": run.checkpoint_bytes(),
        "layers": layers,
        "coverage": str(run.plan.coverage(run.batches.validation(1)[0][0][:1].to(run.device))),
        "monitors": [monitor.name for monitor in run.monitors],
        "interventions": [intervention.name for intervention in run.interventions],
    }


def _group_facts(run: Run) -> list[dict[str, Any]]:
    """Every parameter group: its optimizer, its learning rate before the schedule, its parameters."""
    from altgrad_core.running.assembly.chained import members_of
    from altgrad_core.running.assembly.groups import shares

    params = run.plan.params()
    paths = {param.tensor: param.path for param in params}
    who = shares(run.resolved.optimizer, run.resolved.groups, params)
    return [
        {"optimizer": share.spec.name, "lr": group["initial_lr"], "parameters": [paths[p] for p in group["params"]]}
        for share, member in zip(who, members_of(run.optimizer), strict=True)
        for group in member.param_groups
    ]


def _group_table(groups: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table("optimizer", "learning rate", "parameters", box=None, pad_edge=False)
    for group in groups:
        shown, more = group["parameters"][:MOST_PARAMETERS], len(group["parameters"]) - MOST_PARAMETERS
        rest = f" and {more} more" if more > 0 else ""
        table.add_row(group["optimizer"], f"{group['lr']:g}", ", ".join(shown) + rest)
    return table
