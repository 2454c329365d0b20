"""`altgrad schema`: the JSON Schema of manifests, with the options of everything installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from altgrad_core.cli.terminal import say


def schema(
    out: Annotated[Path | None, typer.Option(help="Write it to this file instead of printing it.")] = None,
) -> None:
    """Print the JSON Schema of manifests, with which editors complete and check them."""
    text = schema_text()
    if out is None:
        print(text, end="")
        return
    from altgrad_core.records.output_place import check_output_place, write_output

    check_output_place(out)
    write_output(out, text.encode())
    say(f"{out}: JSON Schema of manifests; name it in the first line of one:\n\n#:schema ./{out.name}")


def schema_text() -> str:
    """The schema as indented JSON."""
    return json.dumps(installed_schema(), indent=1, ensure_ascii=False) + "\n"


def installed_schema() -> dict[str, Any]:
    """The schema with everything that is installed here."""
    from altgrad_core.manifest.json_schema import manifest_schema
    from altgrad_core.registry.kinds import KINDS
    from altgrad_core.registry.registry import installed

    registry = installed()
    kinds = [kind for kind in KINDS if kind not in ("format", "layer")]  # no table has a layer's options
    plugins = {kind: {name: registry.get(kind, name) for name in registry.names(kind)} for kind in kinds}
    return manifest_schema(plugins, registry.names("format"))
