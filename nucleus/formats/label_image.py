"""Label images on disk: PNG (8 or 16 bit) and TIFF (8, 16 or 32 bit)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.formats.image import TIFF_SUFFIXES


def read_label_image(path: str | Path) -> np.ndarray:
    """Read a label image.

    Args:
        path: a PNG or TIFF file with one channel of whole numbers, 0 background.

    Returns:
        int32 (H, W).

    Raises:
        InputError: the file is missing, broken, has colours or fractions, or labels below 0 or above 2**31 - 1.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            labels: np.ndarray | None = tifffile.imread(path, key=0)
        else:
            labels = cv2.imdecode(np.frombuffer(path.read_bytes(), dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, ValueError, IndexError, KeyError, cv2.error, tifffile.TiffFileError) as error:
        raise InputError(path, expected="a label image (PNG or TIFF)", found=str(error)[:120]) from error
    if labels is None or labels.ndim != 2:
        found = "a file that cannot be decoded" if labels is None else f"an array of shape {labels.shape}"
        raise InputError(
            path,
            expected="a label image with one channel (H, W)",
            found=found,
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


def write_label_image(path: str | Path, labels: np.ndarray) -> None:
    """Write a label image with the smallest integer type that holds it, compressed without loss.

    Args:
        path: ends in .png (up to 65,535 nuclei) or .tif/.tiff.
        labels: integers (H, W), 0 background, not negative.

    Raises:
        InputError: more than 65,535 labels for a PNG.
    """
    path = Path(path)
    largest = int(labels.max(initial=0))
    dtype = np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32
    if path.suffix.lower() in TIFF_SUFFIXES:
        with atomic_write(path) as temporary:
            tifffile.imwrite(temporary, labels.astype(dtype), compression="zlib")
        return
    if dtype is np.uint32:
        raise InputError(
            path, expected="at most 65,535 labels in a PNG", found=f"label {largest}", remedy="Write a .tif file."
        )
    with atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), labels.astype(dtype)):
            raise InputError(path, expected="a file that can be written", found="the PNG encoder refused")
