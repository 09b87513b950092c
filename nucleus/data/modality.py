"""The kind of an image, from its pixels and the size of its nuclei.

The five kinds are those of the 2018 Data Science Bowl (Caicedo et al. 2019, "Nucleus segmentation across imaging
experiments"). The rule asks three questions, each of one number; the values below are those of BBBC038's 729 images.

1. Is the background dark? The *background* is the median over the pixels of their brightest channel, 0 to 255.
   Fluorescent images have at most 52, all others 176 to 240; dark is below `DARK_BACKGROUND`.
   A dark image is fluorescent: *large* if the median nucleus is `LARGE_DIAMETER` pixels wide or more (the diameter of
   the circle of equal area). Image medians have two peaks, at 12 and at 48 pixels, and few values around 32.
   An image without nuclei is taken for the commoner kind, small.
2. Is a bright image grey? A pixel is *coloured* if its channels differ by more than `COLOURED` grey levels. Grey-scale
   tissue has no coloured pixel, the others 7 % at least; grey is less than `COLOURED_SHARE` of the image.
3. Is a coloured image pink? A pixel is *pink* if its red exceeds its blue by `RED_OVER_BLUE` and its green by
   `RED_OVER_GREEN`: eosin, which stains what is not nucleus in H&E. Pink-and-purple tissue has 16 to 58 % of them,
   purple tissue 0.2 % at most; pink is `PINK_SHARE` of the image or more.

Against the colours of `index.csv` (foreground on background): all 594 white-on-black images are fluorescent, all 16
black-on-white ones grey-scale tissue, all 119 with a purple foreground one of the two other tissues. Purple on white or
on purple can be either, since those names tell the background and not the stain: 111 are purple tissue (65 on purple,
38 on white, 8 on yellow), 8 pink-and-purple (5 on purple, 3 on white).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

MODALITIES = ("small_fluorescent", "large_fluorescent", "purple_tissue", "pink_purple_tissue", "grayscale_tissue")

DARK_BACKGROUND = 110  # grey levels
LARGE_DIAMETER = 32.0  # pixels
COLOURED = 20  # grey levels
COLOURED_SHARE = 0.01  # of the pixels
RED_OVER_BLUE = 10  # grey levels
RED_OVER_GREEN = 40  # grey levels
PINK_SHARE = 0.05  # of the pixels


def modality_of(image: np.ndarray, areas: Sequence[int]) -> str:
    """Name the kind of an image.

    Args:
        image: uint8 (H, W, 3), RGB, values in [0, 255].
        areas: of its nuclei in pixels; may be empty.

    Returns:
        One of `MODALITIES`.
    """
    red, green, blue = cv2.split(image)
    brightest = np.maximum(np.maximum(red, green), blue)
    if median_level(brightest) < DARK_BACKGROUND:
        large = bool(areas) and median_diameter(areas) >= LARGE_DIAMETER
        return "large_fluorescent" if large else "small_fluorescent"
    if np.mean(brightest - np.minimum(np.minimum(red, green), blue) > COLOURED) < COLOURED_SHARE:
        return "grayscale_tissue"
    redness = red.astype(np.int16)  # so that differences may be negative
    pink = np.mean((redness - blue > RED_OVER_BLUE) & (redness - green > RED_OVER_GREEN))
    return "pink_purple_tissue" if pink >= PINK_SHARE else "purple_tissue"


def median_level(values: np.ndarray) -> float:
    """The median of uint8 values, counted and not sorted."""
    below = np.cumsum(np.bincount(values.ravel(), minlength=256))  # values up to each level
    lower, upper = np.searchsorted(below, [(values.size - 1) // 2, values.size // 2], side="right")
    return float(lower + upper) / 2


def median_diameter(areas: Sequence[int]) -> float:
    """The diameter in pixels of the circle that has the median area.

    Args:
        areas: in pixels, at least one.
    """
    return math.sqrt(4.0 * float(np.median(areas)) / math.pi)
