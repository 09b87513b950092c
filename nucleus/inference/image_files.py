"""The image files that a user means by files and folders, and the name of each in the output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nucleus.errors import InputError
from nucleus.formats.image_source import IMAGE_SUFFIXES
from nucleus.formats.ome_zarr import is_zarr
from nucleus.inference.claims import Claims

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
            in folders below. Hidden ones are left out, and those that nucleus wrote.
        leave_out: the folder of the output. Its files are none of them; one that nucleus wrote there is not, though it
            is named itself.

    Returns:
        The files in the order of the inputs, those of a folder by name; each once.

    Raises:
        InputError: an input is missing, cannot be listed, holds no image or is `leave_out` itself, or two files would
            have one name in the output.
    """
    files: dict[Path, ImageFile] = {}
    excluded = leave_out.resolve() if leave_out else None
    written = Claims(excluded).every() if excluded else set()
    for given in inputs:
        if not given.exists():
            raise InputError(given, expected="an image or a folder of images", found="nothing there")
        is_folder = given.is_dir() and not is_zarr(given)
        if is_folder and given.resolve() == excluded:
            raise InputError(given, expected="a folder for the output that is not that of the images",
                             found="the same one", remedy="Name another: it fills with images.")  # fmt: skip
        found = list(_in_folder(given, {excluded} if excluded else set(), set())) if is_folder else [given]
        if written:
            found = [path for path in found if path.resolve() not in written]
        if not found and is_folder:
            raise InputError(given, expected=f"images ({' '.join(IMAGE_SUFFIXES)})", found="none in this folder")
        for path in found:
            place = path.relative_to(given) if is_folder else Path(path.name)
            files.setdefault(path.resolve(), ImageFile(path, place.with_name(_stem(place)).as_posix()))
    named: dict[str, Path] = {}
    for file in files.values():
        other = named.setdefault(file.name, file.path)
        if other != file.path:
            raise InputError(file.path, expected="names that differ in more than their ending",
                             found=f"the name of {other}",
                             remedy="Rename one, or name the images one by one.")  # fmt: skip
    if not files:
        raise InputError(given, expected="images that nucleus did not write itself", found="none")
    return list(files.values())


def _stem(path: Path) -> str:
    """The name without its ending, which may be double: slide.ome.tif."""
    stem = path.stem
    return stem[: -len(".ome")] if stem.lower().endswith(".ome") and len(stem) > len(".ome") else stem


def _in_folder(folder: Path, seen: set[Path], written: set[Path]) -> Iterator[Path]:
    """Images below a folder, by name; not inside OME-Zarr folders, hidden ones and those of `seen`, which grows: links
    may lead in a circle. Nor those of `written`, which grows by what nucleus wrote into folders under way."""
    seen.add(folder.resolve())
    written |= Claims(folder).every()
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(folder, expected="a readable folder", found=error.strerror or str(error)) from error
    for path in paths:
        if path.name.startswith("."):
            continue
        if path.is_dir() and path.suffix.lower() != ZARR:
            if path.resolve() not in seen:
                yield from _in_folder(path, seen, written)
        elif path.suffix.lower() in IMAGE_SUFFIXES and path not in written:
            yield path
