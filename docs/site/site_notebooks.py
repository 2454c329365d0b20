"""The pages of notebooks: their text, code and outputs as markdown, so that they look like every other page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

_LINK = re.compile(r"\]\((\S+)\.ipynb\)")


def notebook_page(path: Path) -> str:
    """A notebook as it was executed; links to other notebooks lead to their pages."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(part for cell in cells for part in _cell(cell))
    return _LINK.sub(r"](\1.md)", text) + "\n"


def _cell(cell: Any) -> Iterator[str]:
    if cell.cell_type == "markdown":
        yield cell.source
        return
    yield f"```python\n{cell.source}\n```"
    for output in cell.outputs:
        yield _output(output)


def _output(output: Any) -> str:
    """One output: an image, HTML, or text, whichever is the richest."""
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```"
    data = output.data
    if "image/png" in data:
        return f"![Figure](data:image/png;base64,{data['image/png'].strip()})"
    if "text/html" in data:
        return f'<div class="output" markdown="0">{data["text/html"]}</div>'
    return f"```text\n{data['text/plain']}\n```"
