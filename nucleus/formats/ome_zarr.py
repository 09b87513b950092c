"""OME-Zarr (versions 0.4 and 0.5) and plain zarr arrays, read chunk by chunk. Needs the package zarr, an extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nucleus.errors import InputError
from nucleus.formats.stored import LARGEST_CHUNK, MOST_PIXELS, PixelSize, Stored, plausible

UM_PER = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6, "angstrom": 1e-4}
RED_GREEN_BLUE = ("FF0000", "00FF00", "0000FF")
PLAIN_AXES = {2: "YX", 3: "CYX"}
METADATA = (".zgroup", ".zarray", "zarr.json")  # one of them is in every zarr folder


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr array or group."""
    return any((path / name).is_file() for name in METADATA)


def open_ome_zarr(path: Path, series: int | None = None, level: int = 0) -> Stored:
    """Open one image of an OME-Zarr folder.

    Args:
        path: the folder of the image; of a bioformats2raw folder with several, the one above them.
        series: which image of a folder with several, from 0; None for the only one.
        level: of the pyramid, 0 the full size.

    Returns:
        The image; stacks and channels as axes.

    Raises:
        InputError: zarr is not installed, the folder is no image, has several and none is chosen, no such level, or
            chunks too large to be decoded.
    """
    try:
        import zarr
    except ImportError:
        raise InputError(path, expected="the package zarr, to read OME-Zarr", found="none",
                         remedy='Install it: pip install "nucleus[zarr]".') from None  # fmt: skip
    try:
        return _open(path, zarr.open(str(path), mode="r"), series, level)
    except InputError:
        raise
    except Exception as error:  # zarr raises what its stores and codecs raise
        raise InputError(path, expected="an OME-Zarr image", found=str(error)[:120] or type(error).__name__) from error


def _open(path: Path, node: Any, series: int | None, level: int) -> Stored:
    if hasattr(node, "dtype"):
        axes = "YXS" if node.ndim == 3 and node.shape[2] in (3, 4) else PLAIN_AXES.get(node.ndim, "")
        return Stored(_checked(path, node, axes), axes, is_rgb=axes == "YXS")
    group, attributes = _image(path, node, series)
    image = attributes["multiscales"][0]
    datasets = image["datasets"]
    if not 0 <= level < len(datasets):
        raise InputError(path, expected=f"a level from 0 to {len(datasets) - 1}", found=f"level {level}")
    array = group[datasets[level]["path"]]
    described = [{"name": one} if isinstance(one, str) else one for one in image.get("axes") or "tczyx"]
    axes = "".join(one["name"][:1].upper() for one in described)
    array = _checked(path, array, axes)
    full = group[datasets[0]["path"]].shape
    down, across = (full[axes.index(axis)] / array.shape[axes.index(axis)] for axis in "YX")
    units = [UM_PER.get(one.get("unit", "")) for one in described]
    size = _pixel_size(axes, units, _scale(datasets[0], image))
    channels = attributes.get("omero", {}).get("channels", [])
    colours = tuple(str(one.get("color", "")).upper() for one in channels)
    return Stored(
        array,
        axes,
        is_rgb=colours == RED_GREEN_BLUE and array.dtype == np.uint8,  # stained tissue; fluorescence has more bits
        channel_names=tuple(str(one.get("label", "")) for one in channels),
        pixel_size_um=(size[0] * down, size[1] * across) if size else None,
        downsample=(down, across),
    )


def _image(path: Path, group: Any, series: int | None) -> tuple[Any, dict[str, Any]]:
    """The group that holds the pyramid, and its metadata (under "ome" since 0.5)."""
    attributes = dict(group.attrs)
    attributes = attributes.get("ome", attributes)
    if "multiscales" in attributes:
        if series not in (None, 0):
            raise InputError(path, expected="series 0 of a folder with one image", found=f"series {series}")
        return group, attributes
    if "plate" in attributes or "well" in attributes:
        raise InputError(path, expected="one image", found="a plate of many",
                         remedy="Name one field of it, for example plate.zarr/A/1/0.")  # fmt: skip
    images = sorted((name for name in group.group_keys() if name.isdigit()), key=int)
    if not images:
        raise InputError(path, expected="an OME-Zarr image", found="a zarr group without one")
    if series is None and len(images) > 1:
        raise InputError(path, expected="one image", found=f"{len(images)} images",
                         remedy=f"Choose one with --series, 0 to {len(images) - 1}.")  # fmt: skip
    if series is not None and str(series) not in images:
        raise InputError(path, expected=f"a series from 0 to {len(images) - 1}", found=f"series {series}")
    return _image(path, group[images[0] if series is None else str(series)], None)


def _scale(dataset: dict[str, Any], image: dict[str, Any]) -> np.ndarray:
    """Units a pixel along each axis: the level's own scale times the one of all levels."""
    steps = [*dataset.get("coordinateTransformations", []), *image.get("coordinateTransformations", [])]
    return np.prod([step["scale"] for step in steps if step.get("type") == "scale"] or [np.nan], axis=0)


def _pixel_size(axes: str, units: list[float | None], scale: np.ndarray) -> PixelSize | None:
    if scale.shape != (len(axes),):
        return None
    height, width = (float(scale[axes.index(axis)]) * (units[axes.index(axis)] or 0.0) for axis in "YX")
    return plausible(height, width)


def _checked(path: Path, array: Any, axes: str) -> Any:
    if len(axes) != array.ndim or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise InputError(
            path, expected="an image with rows and columns", found=f"{array.ndim} axes {axes or 'unnamed'}"
        )
    height, width = (array.shape[axes.index(axis)] for axis in "YX")
    if height * width > MOST_PIXELS or height < 1 or width < 1:
        raise InputError(path, expected="an image of a size that a slide can have", found=f"{height} x {width} pixels")
    chunk = int(np.prod(array.chunks, dtype=object)) * array.dtype.itemsize
    if chunk > LARGEST_CHUNK:
        raise InputError(path, expected="chunks of at most 1 GiB", found=f"chunks of {chunk >> 20} MiB")
    return array
