"""What the package index is told that depends on where the package is built: the README with absolute links, and addresses.

GitHub's CI sets GITHUB_REPOSITORY. Elsewhere the address of the repository is not known: images that only the repository
has are left out, and links to its files become plain text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>(?!https?:|#)[^)\s]+)\)")


class AddressesHook(MetadataHookInterface):
    """Fills in `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling with the project table, in place."""
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        name = os.environ.get("GITHUB_REPOSITORY")
        commit = os.environ.get("GITHUB_SHA", "main")
        metadata["readme"] = {"content-type": "text/markdown", "text": with_absolute_links(readme, name, commit)}
        if name:
            at = f"https://github.com/{name}"
            metadata["urls"] = {
                "Source": at,
                "Issues": f"{at}/issues",
                "Documentation": f"{at}/tree/{commit}/docs",
                "Changelog": f"{at}/blob/{commit}/CHANGELOG.md",
            }


def with_absolute_links(readme: str, repository: str | None, commit: str) -> str:
    """The README with links that work outside the repository.

    Args:
        readme: markdown, with links relative to the root of the repository.
        repository: `owner/name` on GitHub; None where it is not known.
        commit: what the links show.
    """

    def replaced(link: re.Match[str]) -> str:
        if repository is None:
            return "" if link["image"] else link["text"]
        target = link["target"]
        if link["image"]:
            return f"![{link['text']}](https://raw.githubusercontent.com/{repository}/{commit}/{target})"
        return f"[{link['text']}](https://github.com/{repository}/blob/{commit}/{target})"

    return _LINK.sub(replaced, readme)
