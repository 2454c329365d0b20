"""What mkdocs calls while it builds the site: adds the generated pages and those outside docs/, and adapts links."""

from __future__ import annotations

from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from site_api import api_page
from site_commands import commands_page
from site_hookspecs import hooks_page
from site_links import ROOT, ROOT_PAGES, with_links_of_the_site
from site_manifest import manifest_page
from site_notebooks import notebook_page
from site_plugins import CORE, plugins_page
from site_readings import readings_page

from altgrad_core.registry.registry import installed

GENERATED = {
    "reference/api.md": api_page,
    "reference/commands.md": commands_page,
    "reference/hooks.md": hooks_page,
    "reference/manifest.md": manifest_page,
    "reference/plugins.md": plugins_page,
    "reference/readings.md": readings_page,
}


def on_files(files: Any, config: Any) -> Any:
    """Add pages that are not files of docs/.

    Raises:
        PluginError: AltGrad is not installed where the site is built, so that its plugins are not known.
    """
    if not any(entry.plugin.distribution == CORE for entry in installed()):
        raise PluginError('AltGrad is not installed here, so the reference would be empty: pip install -e ".[docs]"')
    for page, make in GENERATED.items():
        files.append(File.generated(config, page, content=make()))
    for notebook in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=notebook_page(notebook)))
    for source, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links of a document to where the site has their targets."""
    return markdown if page.file.src_uri in GENERATED else with_links_of_the_site(markdown, page.file.src_uri)
