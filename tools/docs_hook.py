"""What `make docs` needs beside MkDocs: links that work in the repository work on the site, too.

Pages outside docs/ that a reader of the site wants are made pages of it (`PAGES`). A link to one of them, written as
the repository needs it, becomes a link to that page; a link to any other file of the repository, a source file or a
folder, becomes plain text. A link to nothing stays as it is, so that a strict build fails.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs/"
PAGES = {  # in the repository -> on the site
    "README.md": "project/readme.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
    "datasets/README.md": "project/datasets.md",
}
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s#]+)(#[^()\s]*)?\)")


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add the pages outside docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of a page into those of the site."""
    address = page.file.src_uri
    source = next((one for one, other in PAGES.items() if other == address), DOCS + address)

    def rewritten(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        if ":" in target:
            return link[0]
        text = LINK.sub(rewritten, text)  # an image as the text of a link
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = PAGES.get(path, path.removeprefix(DOCS) if path.startswith(DOCS) else None)
        if place is not None:
            return f"[{text}]({posixpath.relpath(place, posixpath.dirname(address) or '.')}{anchor})"
        return text if (ROOT / path).exists() else link[0]

    return LINK.sub(rewritten, markdown)
