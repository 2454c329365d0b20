"""A run or a study for notebooks: its answer, the table under it, and the curves of its losses."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from altgrad_core.errors import ManifestError
from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.heading import heading
from altgrad_core.experiments.plots import Plot
from altgrad_core.experiments.report.blocks import TextTable
from altgrad_core.experiments.report.sections.summary import answer_table
from altgrad_core.experiments.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS = 110.0  # an inch of a picture


def loaded_html(analysis: Analysis) -> str:
    """A heading, a table and a picture, each left out where nothing has been recorded for it."""
    top = f"<p><strong>{escape(heading(analysis))}</strong><br>{escape(str(analysis.study.directory))}</p>"
    try:
        curves = _picture(Plot(analysis).curves(), f"loss by step of {analysis.study.name}")
    except ManifestError:  # no loss has been recorded yet
        curves = ""
    return top + _table(answer_table(View(analysis))) + curves


def _table(table: TextTable) -> str:
    if not table.rows:
        return ""
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _picture(figure: Figure, label: str) -> str:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=DOTS)
    data = base64.b64encode(image.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(label)}" style="max-width:100%">'
