"""Where the links of a document lead on the site: to another page, to a file beside it, or out of the site."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks/README.md",
    "benchmarks/quantize.png": "benchmarks/quantize.png",
}
"""Files outside docs/ that the site has, by their path in the repository."""
_FENCE = re.compile(r"(^```.*?^```\n?)", re.MULTILINE | re.DOTALL)
_BADGE = re.compile(r"^!\[[^\]]*\]\(https:[^)]*\)\n", re.MULTILINE)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#:]+)(?P<anchor>#[^)]*)?\)")


def source_of(page: str) -> str:
    """The path in the repository of what the site shows as `page`."""
    return next((source for source, name in ROOT_PAGES.items() if name == page), f"docs/{page}")


def page_of(source: str) -> str | None:
    """The path on the site of a file or folder of the repository; None where the site does not have it."""
    if (ROOT / source).is_dir():
        source = posixpath.join(source, "README.md")
    if source in ROOT_PAGES:
        return ROOT_PAGES[source]
    if source.startswith("docs/notebooks/"):
        source = source.replace(".ipynb", ".md")
        return source.removeprefix("docs/")
    is_shown = source.startswith("docs/") and (ROOT / source).is_file()
    return source.removeprefix("docs/") if is_shown else None


def repository() -> str | None:
    """The address of the files of this version, where the build knows it (`GITHUB_REPOSITORY`, as in GitHub's own CI)."""
    name = os.environ.get("GITHUB_REPOSITORY")
    return f"https://github.com/{name}/blob/{os.environ.get('GITHUB_SHA', 'main')}" if name else None


def with_links_of_the_site(markdown: str, page: str) -> str:
    """A document with its relative links as the site needs them.

    Images from elsewhere are left out: the site loads nothing from other servers. A link to a file that the site does not have leads to the repository; where that has no known address, its text remains.

    Args:
        markdown: the document as it is in the repository.
        page: its path on the site.
    """
    folder = posixpath.dirname(source_of(page))

    def replaced(link: re.Match[str]) -> str:
        source = posixpath.normpath(posixpath.join(folder, link["target"]))
        shown = page_of(source)
        if shown is not None:
            target = posixpath.relpath(shown, posixpath.dirname(page) or ".")
        elif (address := repository()) is not None:
            target = f"{address}/{source}"
        else:
            return link["text"]
        return f"{link['image']}[{link['text']}]({target}{link['anchor'] or ''})"

    parts = _FENCE.split(_BADGE.sub("", markdown))
    return "".join(part if part.startswith("```") else _LINK.sub(replaced, part) for part in parts)
