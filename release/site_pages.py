"""MkDocs hook: the pages of the repository's root join those of docs/, with the README as the home page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
HOME = {"README.md": "index.md"}
_LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root and the license."""
    for path in [*sorted(ROOT.glob("*.md")), ROOT / "LICENSE"]:
        files.append(File.generated(config, HOME.get(path.name, path.name), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links within the repository into links within the site."""
    is_of_root = not Path(page.file.abs_src_path or "").is_relative_to(ROOT / "docs")

    def moved(link: re.Match[str]) -> str:
        path = link[2].removeprefix("docs/" if is_of_root else "../")
        return link[1] + HOME.get(path, path)

    return _LINK.sub(moved, markdown)
