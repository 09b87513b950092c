"""Small images in one call: read a file, bring it to 8-bit RGB.

Detectron2's own reader turns 16-bit images white, so everything here goes through `read_image`. For large images,
stacks, channels and pixel sizes there is `nucleus.formats.image_source`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nucleus.errors import InputError
from nucleus.formats.image_source import open_image
from nucleus.formats.rescale import Rescale

TIFF_SUFFIXES = {".tif", ".tiff"}
SAVE_ONE = "Save the one plane as a file of its own."


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as it is stored.

    Args:
        path: a PNG, JPEG, WebP, BMP or TIFF file with one image.

    Returns:
        uint8 or uint16, (H, W) for grey or (H, W, 3) for RGB. An alpha channel is dropped; values are unscaled.

    Raises:
        InputError: the file is missing, broken, a stack, or not an 8/16-bit image of 1, 3 or 4 channels.
    """
    try:
        source = open_image(path)
    except InputError as error:
        if "--" not in error.remedy:
            raise
        raise InputError(path, expected=error.expected, found=error.found, remedy=SAVE_ONE) from error
    with source:
        if source.dtype not in (np.uint8, np.uint16):
            raise InputError(
                path,
                expected="8 or 16 bit unsigned integers",
                found=f"{source.dtype}",
                remedy="Save the image with 8 or 16 bits a channel.",
            )
        return source.read_all()


def to_rgb8(image: np.ndarray) -> np.ndarray:
    """Bring any image to 8-bit RGB.

    Values other than 8 bit are scaled so that the image's 0.1st percentile is black and its 99.9th white, all channels
    alike.

    Args:
        image: numbers, (H, W) or (H, W, 3); mostly uint8 or uint16.

    Returns:
        uint8 (H, W, 3), RGB, values in [0, 255]. A new array unless the input already was that.
    """
    return Rescale.of(image)(image)
