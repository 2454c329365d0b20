"""The page: one HTML file that needs nothing else, with every figure in it."""

from __future__ import annotations

from typing import Any

from altgrad_core.experiments.report.blocks import Gallery, Page, Panel, Text, TextTable

TEMPLATE = "page.html.j2"


def as_html(page: Page) -> str:
    """The page from its template; everything but the SVG of our own figures is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def drawing(panel: Panel) -> Markup:
        return Markup(panel.svg)

    environment = Environment(
        loader=PackageLoader("altgrad_core.experiments.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests.update(_tests())
    environment.filters.update(drawing=drawing, breakable=breakable)
    return environment.get_template(TEMPLATE).render(page=page) + "\n"


def breakable(text: str) -> Any:
    """Text that may be broken after the marks within long names, such as dots and slashes."""
    from markupsafe import Markup, escape

    marked = str(escape(text))
    for mark in (".", "/", "=", "_"):
        marked = marked.replace(mark, f"{mark}<wbr>")
    return Markup(marked)


def _tests() -> dict[str, Any]:
    """What the template asks of a block."""
    return {
        kind.__name__.lower(): lambda block, kind=kind: isinstance(block, kind) for kind in (Text, Gallery, TextTable)
    }
