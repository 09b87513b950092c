"""An image file opened but not read: what the readers of single formats hand to `nucleus.formats.image_source`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleus.errors import InputError

PixelSize = tuple[float, float]  # height and width of a pixel in micrometres

LARGEST_CHUNK = 1 << 30  # bytes that one tile or strip may take decoded
MOST_PIXELS = 1 << 36  # of a declared plane; no slide has them, so that the file is broken or hostile

# A printer's 300 dots per inch are 85 micrometres a pixel, and an atom is 0.0001 wide. What image programs put in by
# default, or what is damaged, is no pixel size.
FINEST_UM, COARSEST_UM = 1e-4, 10.0


def _as_stored(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Stored:
    """One image in one file.

    Attributes:
        pixels: array, memory map or zarr array with an axis for each letter of `axes`; slicing it reads.
        axes: Y and X; C (channels) or S (samples of a pixel) if there are any; other letters for stacks.
        is_rgb: the channels are red, green, blue and perhaps alpha.
        has_alpha: the last channel is alpha.
        channel_names: as the file has them; may be empty.
        pixel_size_um: (height, width) in micrometres, or None where the file does not say.
        downsample: pixels of the full image for one of this level of a pyramid, down and across.
        convert: what makes intensities or RGB of the values read (a palette, inverted greys).
        close: lets go of the file.
    """

    pixels: Any
    axes: str
    is_rgb: bool = False
    has_alpha: bool = False
    channel_names: tuple[str, ...] = ()
    pixel_size_um: PixelSize | None = None
    downsample: tuple[float, float] = (1.0, 1.0)
    convert: Callable[[np.ndarray], np.ndarray] = _as_stored
    close: Callable[[], None] = _nothing


def plausible(height_um: float, width_um: float) -> PixelSize | None:
    """A pixel size as a file states it, or None where it is a printer's and not a microscope's, or makes no sense."""
    sizes = (float(height_um), float(width_um))
    return sizes if all(FINEST_UM <= size <= COARSEST_UM for size in sizes) else None


def check_regular(path: Path, expected: str) -> None:
    """Refuse a pipe or a device, whatever its name ends with: reading it may wait for ever, or never come to an end.

    Args:
        path: also of a link; what is missing or a folder is left to the reader to explain.
        expected: what should be there, in words.

    Raises:
        InputError: it is neither a file nor a folder.
    """
    try:
        special = path.exists() and not (path.is_file() or path.is_dir())
    except OSError as error:  # a name too long, a folder that is closed
        raise InputError(path, expected=expected, found=error.strerror or str(error)) from error
    if special:
        raise InputError(path, expected=expected, found="a pipe or a device")
