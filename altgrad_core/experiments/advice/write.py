"""Writing an advice: a recipe file, and the page beside it."""

from __future__ import annotations

from pathlib import Path

import tomlkit

from altgrad_core.experiments.advice.page import advice_page, sentence
from altgrad_core.experiments.report.page import as_html
from altgrad_core.records.output_place import write_output
from altgrad_core.running.evaluation.advise import Advice
from altgrad_core.text import as_bytes


def write_advice(advice: Advice, out: Path, *, name: str) -> Path:
    """Write the recipe to `out`, and the page beside it, under the same name with `.html`; the page.

    Raises:
        RunError: one of them cannot be written.
    """
    page = out.with_suffix(".html")
    words = f'# {sentence(advice)}\n# In a manifest: extends = "{out.name}"\n\n'
    built = advice_page(advice, name=name, files=[(out.name, "the recipe, which a manifest can extend")])
    for path, text in ((page, as_html(built)), (out, words + tomlkit.dumps({"recipe": advice.recipe()}))):
        write_output(path, as_bytes(text))
    return page
