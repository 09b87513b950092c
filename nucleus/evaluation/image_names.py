"""Names of images: what a file name says about which image it is, and which names of two sides mean the same one.

The *name* of an image is its path in the source without the ending (.png, .ome.tif, ...). The names of two sides are
matched by as few trailing parts as tell the images of each apart: by file name alone as a rule, by folder and file name
where folders hold files of one name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from nucleus.errors import InputError
from nucleus.formats.stored import check_regular

LABEL_SUFFIXES = (".png", ".tif", ".tiff")
GEOJSON_SUFFIXES = (".geojson",)
IMAGE_SUFFIXES = (*LABEL_SUFFIXES, ".jpg", ".jpeg", ".webp", ".bmp")
NAMED_AT_MOST = 10  # images in a message


def name_of(file_name: str) -> str:
    """The name of an image: its file name, folders included, without the ending."""
    path = PurePosixPath(file_name.replace("\\", "/"))
    if path.suffix.lower() in (*IMAGE_SUFFIXES, *GEOJSON_SUFFIXES):
        path = path.with_suffix("")
        path = path.with_suffix("") if path.suffix.lower() == ".ome" else path
    return path.as_posix()


def match_names(names: Collection[str], others: Collection[str]) -> dict[str, str]:
    """Match names by as few trailing parts as tell the names of each side apart.

    Args:
        names: each once.
        others: each once.

    Returns:
        The other name of each name that has one.
    """
    for depth in range(1, 2 + max((name.count("/") for name in (*names, *others)), default=0)):
        own, other = _by_tail(names, depth), _by_tail(others, depth)
        if len(own) == len(names) and len(other) == len(others):
            break
    return {name: other[tail] for tail, name in own.items() if tail in other}


def _by_tail(names: Collection[str], depth: int) -> dict[str, str]:
    return {"/".join(name.split("/")[-depth:]): name for name in names}


def files_by_name(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Files below a folder by the names of their images; hidden ones are passed over.

    Raises:
        InputError: two files of one name, or a pipe or device, which would be read without end.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix.lower() in suffixes and not any(part.startswith(".") for part in relative.parts):
            name = name_of(relative.as_posix())
            if name in found:
                raise InputError(path, expected="one file of each name", found=f"{found[name].name}, too",
                                 remedy="Keep one of them.")  # fmt: skip
            check_regular(path, "a file")
            found[name] = path
    return found


def listed(names: Iterable[str]) -> str:
    """The first few names, in order."""
    ordered = sorted(names)
    return ", ".join(ordered[:NAMED_AT_MOST]) + (", ..." if len(ordered) > NAMED_AT_MOST else "")
