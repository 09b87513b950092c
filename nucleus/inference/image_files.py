"""The image files that a user means by files and folders, and the name of each in the output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nucleus.errors import InputError
from nucleus.formats.image_source import IMAGE_SUFFIXES
from nucleus.formats.ome_zarr import is_zarr

ZARR = ".zarr"


@dataclass(frozen=True)
class ImageFile:
    """One image file.

    Attributes:
        path: of the file, or of an OME-Zarr folder.
        name: in the output: the file's name without its ending; of a file in a folder below the one that was given,
            with the names of the folders between them and slashes.
    """

    path: Path
    name: str


def find_images(inputs: Iterable[Path], *, leave_out: Path | None = None) -> list[ImageFile]:
    """List image files.

    Args:
        inputs: files, taken whatever their names are, and folders, in which all files named as images are taken, also
            in folders below. Hidden ones are left out.
        leave_out: a folder whose files are none of them, such as that of the output.

    Returns:
        The files in the order of the inputs, those of a folder by name; each once.

    Raises:
        InputError: an input is missing, a folder holds no image, or two files would have one name in the output.
    """
    files: dict[Path, ImageFile] = {}
    for given in inputs:
        found = list(_in_folder(given, leave_out)) if given.is_dir() and not is_zarr(given) else [given]
        if not given.exists():
            raise InputError(given, expected="an image or a folder of images", found="nothing there")
        if not found:
            raise InputError(given, expected=f"images ({' '.join(IMAGE_SUFFIXES)})", found="none in this folder")
        for path in found:
            place = path.relative_to(given) if path != given else Path(path.name)
            files.setdefault(path.resolve(), ImageFile(path, place.with_name(_stem(place)).as_posix()))
    named: dict[str, Path] = {}
    for file in files.values():
        other = named.setdefault(file.name, file.path)
        if other != file.path:
            raise InputError(file.path, expected="names that differ in more than their ending",
                             found=f"the name of {other}", remedy="Give one of them another name or output folder.",
            )  # fmt: skip
    return list(files.values())


def _stem(path: Path) -> str:
    """The name without its ending, which may be double: slide.ome.tif."""
    stem = path.stem
    return stem[: -len(".ome")] if stem.lower().endswith(".ome") and len(stem) > len(".ome") else stem


def _in_folder(folder: Path, leave_out: Path | None) -> Iterable[Path]:
    """Images below a folder, by name; not inside OME-Zarr folders, hidden folders and `leave_out`."""
    excluded = leave_out.resolve() if leave_out else None
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.resolve() == excluded:
            continue
        if path.is_dir() and path.suffix.lower() != ZARR:
            yield from _in_folder(path, leave_out)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path
