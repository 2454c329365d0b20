"""What the command line can evaluate: the newest checkpoint of a run, or the model that a manifest builds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from altgrad_core.errors import ManifestError, RunError
from altgrad_core.manifest.explain import validated
from altgrad_core.manifest.load import ManifestFile, load_manifest, manifest_of
from altgrad_core.manifest.schema import RecipeFile
from altgrad_core.records.directory import CELLS, RunDirectory
from altgrad_core.registry.registry import Registry
from altgrad_core.running.assembly.assemble import assemble
from altgrad_core.running.assembly.finder import Finder
from altgrad_core.running.assembly.import_path import refuse_imports
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.assembly.scripted import EVALUATE, refuse_script
from altgrad_core.running.assembly.written import literal
from altgrad_core.running.evaluation.after_training import subject_of
from altgrad_core.running.evaluation.subject import Subject, chosen_quantizers
from altgrad_core.running.model.recipe import Rule
from altgrad_core.running.state.checkpoint import newest_checkpoint
from altgrad_core.running.state.trained_with import refuse_another_manifest


def target(
    path: Path,
    registry: Registry,
    *,
    settings: Iterable[str] = (),
    batches: int | None,
    calibrate: int,
    imports: bool = True,
) -> tuple[Subject, Sequence[Rule]]:
    """The model of a run at its newest checkpoint, that of a manifest as it is built, or one of Hugging Face; and its recipe.

    The recipe of a run has the formats in force at that checkpoint: interventions may have switched some. The directory of
    a model has none.

    Args:
        settings: `key=value`, for the manifest; for the directory of a model, all that is not its [model].
        batches: of the validation split, at most; None: as many as an evaluation of the run takes.
        calibrate: batches of the training split.
        imports: whether import paths in the manifest are followed.

    Raises:
        ManifestError: there is no run, manifest or model, or it cannot be assembled.
        RunError: the run has no whole checkpoint, or its manifest is not the one it was trained with.
    """
    directory = RunDirectory(path)
    if (path / CELLS).exists():
        raise ManifestError(f"{path}: is a study of many runs; name one of them")
    source = _source(path, directory, settings, registry)
    if not imports:
        refuse_imports(source)
    refuse_script(source.data, path, EVALUATE)
    if "matrix" in source.data:
        raise ManifestError(f"{path}: has a [matrix]; expected a manifest of one run")
    run = assemble(resolve(source, registry))
    rules = list(run.resolved.rules)
    if directory.is_begun:
        rules += _restore(run, directory)
    run.plan.remove()
    most = run.settings.run.evaluate_batches if batches is None else batches
    return subject_of(run, batches=most, calibrate=calibrate), rules


def _source(path: Path, directory: RunDirectory, settings: Iterable[str], registry: Registry) -> ManifestFile:
    """The manifest of a target."""
    if directory.is_begun or not path.is_dir():
        return load_manifest(directory.resolved if path.is_dir() else path, settings)
    kinds = (registry.get("model", name) for name in registry.names("model"))
    tables = next((found for kind in kinds if (found := kind.pretrained(path)) is not None), None)
    if tables is None:
        raise ManifestError(
            f"{path}: no run is here; expected the directory of a run, a manifest, or the directory of a pretrained model"
        )
    source = replace(manifest_of(tables, settings), path=path)
    if "use" not in source.data["data"]:
        raise ManifestError(
            f"{path}: holds a model, but no data to measure its loss on; say which, such as --set data.use=python-docs, or "
            "--set data.use=text-files --set 'data.paths=[\"book.txt\"]'"
        )
    return source


def _restore(run: Run, directory: RunDirectory) -> list[Rule]:
    """Take over the newest checkpoint; the rules of what interventions have switched to other formats by then."""
    newest = newest_checkpoint(directory.checkpoints)
    if newest is None:
        raise RunError(f"{directory.path}: has no complete checkpoint to evaluate")
    refuse_another_manifest(directory, newest[0], newest[1])
    of_manifest = chosen_quantizers(run.plan)
    try:
        run.restore(newest[1])
    except RunError as error:
        told = f"{directory.path}: cannot be evaluated with these settings: {error}; leave out --set of model, data or recipe"
        raise RunError(told) from None
    switched = {
        path: {role: how for role, how in roles.items() if how != of_manifest[path][role]}
        for path, roles in chosen_quantizers(run.plan).items()
    }
    return [Rule(literal(path), **roles) for path, roles in switched.items() if roles]


def recipe_of(path: Path, registry: Registry) -> tuple[Rule, ...]:
    """The rules of a file with `[[recipe]]` tables: a whole manifest, or these alone.

    Raises:
        ManifestError: it has none, or they are wrong.
    """
    source: ManifestFile = load_manifest(path)
    if not source.data.get("recipe"):
        raise ManifestError(f"{path}: has no [[recipe]]")
    tables = validated(RecipeFile, {"recipe": source.data["recipe"]}, source)
    find = Finder(source, registry)
    return tuple(find.rule(table, ("recipe", index)) for index, table in enumerate(tables.recipe))
