"""Which files in an output folder nucleus wrote, and for which image: no other is replaced, removed or left out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from nucleus.formats.atomic import atomic_write

HIDDEN = ".nucleus"
FILES = "files"


class Claims:
    """The lists in the hidden folder of an output folder. A list is written before the files that it names.

    Args:
        folder: of the output; may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lists = folder / HIDDEN / FILES

    def of(self, name: str) -> set[str]:
        """The files of one image, relative to the output folder; none where nothing is known."""
        return _read(self.lists / f"{name}.json")

    def every(self) -> set[Path]:
        """All files, as paths that begin with the output folder as it was given."""
        return {self.folder / path for one in self.lists.rglob("*.json") for path in _read(one)}

    def write(self, name: str, paths: Iterable[str]) -> None:
        """Note which files are those of one image.

        Raises:
            OSError: the disk is full or not writable.
        """
        with atomic_write(self.lists / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(sorted(paths)) + "\n", encoding="utf-8")


def _read(path: Path) -> set[str]:
    try:
        listed = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return set()
    return set(filter(is_inside, listed)) if isinstance(listed, list) else set()


def is_inside(path: object) -> bool:
    """Whether what a file says is a path relative to the output folder that stays in it."""
    if not isinstance(path, str) or not path:
        return False
    return not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts
