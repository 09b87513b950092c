"""Label images on disk: PNG (8 or 16 bit) and TIFF (16 or 32 bit; read: any whole numbers).

A TIFF written here is compressed with deflate, which every reader knows. Up to 4096 pixels a side it has strips, since
ImageJ opens no tiled TIFF without Bio-Formats; beyond, tiles of 512 x 512, so that viewers read what they show, and it
is a BigTIFF if it could pass 4 GiB. The size of a pixel stands in the resolution tags, with ImageJ's note that they are
in micrometres, which Fiji, Bio-Formats (so QuPath) and tifffile understand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.formats.image import SAVE_ONE, TIFF_SUFFIXES
from nucleus.formats.raster import read_raster
from nucleus.formats.stored import PixelSize, check_regular
from nucleus.formats.tiff import broken, open_tiff

TILE = 512
LARGEST_STRIPED = 4096  # pixels a side
STRIP = 1 << 18  # bytes of a strip before compression
CLASSIC = (1 << 32) - (1 << 26)  # bytes that a TIFF holds that is no BigTIFF, less room for what is not pixels
MOST_PIXELS = 1 << 30  # read at once: 4 GiB as int32


def read_label_image(path: str | Path) -> np.ndarray:
    """Read a label image.

    Args:
        path: a PNG or TIFF file with one channel of whole numbers, 0 background.

    Returns:
        int32 (H, W).

    Raises:
        InputError: the file is missing, broken, has colours, several pages or fractions, more than 2**30 pixels, or
            labels below 0 or above 2**31 - 1.
    """
    path = Path(path)
    labels = _decoded(path)
    if labels.ndim != 2:
        raise InputError(
            path,
            expected="a label image with one channel (H, W)",
            found=f"an array of shape {labels.shape}",
            remedy="Save one whole number a pixel, not a coloured picture of the labels.",
        )
    if labels.dtype.kind not in "bui":
        raise InputError(
            path,
            expected="whole numbers",
            found=f"{labels.dtype}",
            remedy="Save the label image as 8, 16 or 32 bit integers.",
        )
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) > np.iinfo(np.int32).max):
        raise InputError(path, expected="labels from 0 to 2147483647", found=f"{labels.min()} to {labels.max()}")
    return labels.astype(np.int32)


def has_8_bits(path: str | Path) -> bool:
    """Whether a label image is stored with 8 bits or fewer a pixel.

    Raises:
        InputError: the file is missing or broken.
    """
    return _decoded(Path(path)).dtype.itemsize == 1


def _decoded(path: Path) -> np.ndarray:
    check_regular(path, "a label image (PNG or TIFF)")
    try:
        return _read_tiff(path) if path.suffix.lower() in TIFF_SUFFIXES else read_raster(path)[0]
    except InputError as error:
        raise InputError(path, expected=f"a label image (PNG or TIFF): {error.expected}", found=error.found,
                         remedy=SAVE_ONE if "--" in error.remedy else error.remedy) from error  # fmt: skip


def _read_tiff(path: Path) -> np.ndarray:
    stored = open_tiff(path)
    try:
        if np.prod(stored.pixels.shape, dtype=object) > MOST_PIXELS:
            raise InputError(path, expected="at most 1,073,741,824 pixels", found=f"a shape of {stored.pixels.shape}")
        return np.asarray(stored.pixels[...])
    except InputError:
        raise
    except Exception as error:  # whatever the decoder of the file's compression raises
        raise broken(path, error) from error
    finally:
        stored.close()


def write_label_image(path: str | Path, labels: np.ndarray, *, pixel_size_um: PixelSize | None = None) -> None:
    """Write a label image with the smallest integer type that holds it, compressed without loss.

    Args:
        path: ends in .png (8 or 16 bit, up to 65,535 nuclei) or .tif/.tiff (16 or 32 bit).
        labels: integers (H, W), 0 background, not negative; also an array on disk, of which a TIFF is written tile by
            tile.
        pixel_size_um: height and width of a pixel in micrometres, kept in a TIFF; None if unknown.

    Raises:
        InputError: more than 65,535 labels for a PNG.
        OSError: the disk is full or not writable.
    """
    path = Path(path)
    largest = max((int(labels[top : top + TILE].max(initial=0)) for top in range(0, labels.shape[0], TILE)), default=0)
    if path.suffix.lower() in TIFF_SUFFIXES:
        height, width = labels.shape
        write_label_tiles(path, tiles_of(labels), height, width, largest=largest, pixel_size_um=pixel_size_um)
        return
    if largest >= 2**16:
        raise InputError(
            path, expected="at most 65,535 labels in a PNG", found=f"label {largest}", remedy="Write a .tif file."
        )
    with atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), labels.astype(np.uint8 if largest < 2**8 else np.uint16)):
            raise InputError(path, expected="a file that can be written", found="the PNG encoder refused")


def tiles_of(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Cut a label image into tiles of 512 x 512 (smaller at the right and the bottom), row of tiles by row of tiles."""
    height, width = labels.shape
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            yield np.asarray(labels[top : top + TILE, left : left + TILE])


def write_label_tiles(
    path: str | Path,
    tiles: Iterable[np.ndarray],
    height: int,
    width: int,
    *,
    largest: int,
    pixel_size_um: PixelSize | None = None,
) -> None:
    """Write a label TIFF from its tiles as they come; of an image with more than 4096 pixels a side, a few are held.

    Args:
        path: ends in .tif or .tiff; a killed run leaves the old file or the new one.
        tiles: integers, in the order and of the sizes of `tiles_of`.
        height: H of the image in pixels.
        width: W of the image in pixels.
        largest: no label is above it; it decides between 16 and 32 bit.
        pixel_size_um: height and width of a pixel in micrometres; None if unknown.

    Raises:
        ValueError: a tile has another size, there are too few or too many, or a label is above `largest`.
        OSError: the disk is full or not writable.
    """
    dtype = np.dtype(np.uint16 if largest < 2**16 else np.uint32)
    source = iter(tiles)
    checked = _checked(source, height, width, largest, dtype)
    options: dict[str, Any] = {"compression": "zlib", "photometric": "minisblack", "metadata": None}
    if pixel_size_um is not None:
        options |= {
            "resolution": (1 / pixel_size_um[1], 1 / pixel_size_um[0]),
            "resolutionunit": "NONE",
            "description": "ImageJ=1.53t\nunit=um\n",
        }
    with atomic_write(path) as temporary:
        bigtiff = height * width * dtype.itemsize > CLASSIC
        with tifffile.TiffWriter(temporary, bigtiff=bigtiff) as writer:
            if max(height, width) <= LARGEST_STRIPED:
                rows = max(1, STRIP // max(1, width * dtype.itemsize))
                writer.write(_assembled(checked, height, width, dtype), rowsperstrip=rows, **options)
            else:
                writer.write(checked, shape=(height, width), dtype=dtype, tile=(TILE, TILE), **options)
        if next(source, None) is not None:
            raise ValueError("expected no more tiles than the image has, found one")


def _checked(
    source: Iterator[np.ndarray], height: int, width: int, largest: int, dtype: np.dtype
) -> Iterator[np.ndarray]:
    places = [(top, left) for top in range(0, height, TILE) for left in range(0, width, TILE)]
    for number, (top, left) in enumerate(places, start=1):
        tile = next(source, None)
        if tile is None:
            raise ValueError(f"expected {len(places)} tiles, found {number - 1}")
        expected = (min(TILE, height - top), min(TILE, width - left))
        if tile.shape != expected:
            raise ValueError(f"expected {expected} pixels in tile {number}, found {tile.shape}")
        if tile.max() > largest or tile.min() < 0:
            raise ValueError(
                f"expected labels from 0 to {largest} in tile {number}, found {tile.min()} to {tile.max()}"
            )
        yield tile.astype(dtype)


def _assembled(tiles: Iterator[np.ndarray], height: int, width: int, dtype: np.dtype) -> np.ndarray:
    labels = np.zeros((height, width), dtype=dtype)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            labels[top : top + TILE, left : left + TILE] = next(tiles)
    return labels
