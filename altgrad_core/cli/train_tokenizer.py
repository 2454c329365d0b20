"""`altgrad train-tokenizer MANIFEST`: learn a byte-pair vocabulary from the text of its data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from altgrad_core.cli.options import ManifestArgument, SetOption
from altgrad_core.cli.terminal import say
from altgrad_core.errors import AltgradError, ManifestError

if TYPE_CHECKING:
    from altgrad_core.contracts.dataset import DatasetSpec
    from altgrad_core.manifest.load import ManifestFile


def train_tokenizer(
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Option(help="The file to write, usually *.tiktoken.")],
    vocabulary: Annotated[
        int, typer.Option(min=257, max=1 << 20, help="How many tokens, including the 256 bytes.")
    ] = 4096,
    set: SetOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file where it exists.")] = False,
) -> None:
    """Learn a byte-pair vocabulary from the training text of MANIFEST, and write tiktoken ranks."""
    from altgrad_core.manifest.load import load_manifest
    from altgrad_core.records.output_place import check_output_place, write_output
    from altgrad_core.running.data.vocabulary import learn_ranks, written

    check_output_place(out)
    if out.exists() and not overwrite:
        raise ManifestError(f"--out {out}: exists; --overwrite replaces it")
    data = _data_set(load_manifest(manifest, set or ()))
    try:
        ranks = learn_ranks(data.texts(), vocabulary=vocabulary, pieces=data.pieces)
    except ManifestError as error:
        raise ManifestError(f"{manifest}: {error}") from None
    write_output(out, written(ranks))
    say(_message(out, ranks, vocabulary=vocabulary, manifest=manifest))


def _data_set(source: ManifestFile) -> DatasetSpec:
    """What `[data]` of a manifest names, whatever else the manifest lacks."""
    from altgrad_core.manifest.explain import problem_at, validated
    from altgrad_core.manifest.schema import DataTable
    from altgrad_core.registry.registry import installed

    table = validated(DataTable, source.data.get("data", {}), source, ("data",))
    try:
        cls: type[DatasetSpec] = installed().get("dataset", table.use)
    except AltgradError as error:
        raise ManifestError(problem_at(source, ("data", "use"), str(error))) from None
    return validated(cls, table.options, source, ("data",))


def _message(out: Path, ranks: dict[bytes, int], *, vocabulary: int, manifest: Path) -> str:
    fewer = "" if len(ranks) == vocabulary else f", not {vocabulary}: no pair is left"
    relative = Path(os.path.relpath(out.absolute(), manifest.absolute().parent)).as_posix()
    return f'{out}: {len(ranks)} tokens{fewer}\nto use it, in {manifest}:\n\n[data]\ntokenizer = "ranks:{relative}"'
