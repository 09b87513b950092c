"""The outlines of all nuclei over their image, as a PNG to look at; of slides, too."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from nucleus.formats.atomic import atomic_write
from nucleus.formats.image_source import ImageSource
from nucleus.visualization.colors import Rgb
from nucleus.visualization.overlay import overlay_outlines

LONGEST = 4096  # pixels of the longer side; a larger picture is no longer looked at as a whole
BAND = 512  # rows of the image read at a time


def write_overlay_png(
    path: str | Path,
    labels: np.ndarray,
    image: ImageSource,
    *,
    color: Rgb | None = None,
    longest: int = LONGEST,
) -> None:
    """Draw every nucleus's outline over the image and save it.

    A larger image is reduced by a whole number, band by band, so that memory goes with the picture and not the slide.

    Args:
        path: ends in .png; a killed run leaves the old file or the new one.
        labels: integers (H, W), 0 background; also an array on disk.
        image: of the same size.
        color: RGB in [0, 255] of all outlines; None for each label's own colour.
        longest: pixels of the longer side of the picture, at the most.

    Raises:
        ValueError: the image has another size than the label image.
        InputError: the image cannot be decoded.
        OSError: the disk is full or not writable.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"expected an image of {labels.shape} pixels, found {image.shape[:2]}")
    picture, small = reduced(labels, image, longest)
    drawn = overlay_outlines(picture, small, color)
    with atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), drawn[..., ::-1]):
            raise OSError(f"{path}: the PNG encoder refused")


def reduced(labels: np.ndarray, image: ImageSource, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Bring an image and its nuclei to a size that can be shown.

    Args:
        labels: integers (H, W); also an array on disk.
        image: of the same size.
        longest: pixels of the longer side, at the most.

    Returns:
        uint8 (h, w, 3), RGB, and integers (h, w), every n-th pixel of each; rows and columns left over are dropped.
    """
    height, width = labels.shape
    factor = max(1, -(-max(height, width) // longest))
    if factor == 1:
        return image.read_rgb8(0, 0, height, width), np.asarray(labels[:, :])
    rows, columns = max(1, height // factor), max(1, width // factor)
    picture = np.empty((rows, columns, 3), dtype=np.uint8)
    small = np.empty((rows, columns), dtype=labels.dtype)
    step = max(1, BAND // factor)
    for first in range(0, rows, step):
        last = min(first + step, rows)
        top, bottom = first * factor, min(last * factor, height)
        band = image.read_rgb8(top, 0, bottom, min(columns * factor, width))
        picture[first:last] = cv2.resize(band, (columns, last - first), interpolation=cv2.INTER_AREA)
        middle = min(factor // 2, bottom - top - 1)
        across = slice(min(factor // 2, width - 1), columns * factor, factor)
        small[first:last] = np.asarray(labels[top + middle : bottom : factor])[:, across]
    return picture, small
