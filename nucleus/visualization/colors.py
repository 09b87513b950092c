"""Colours: one for each label, always the same; and the few with a meaning, which stay apart for the colour-blind."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import cv2
import numpy as np

Rgb = tuple[int, int, int]

# Okabe and Ito (2008), "Color Universal Design": told apart with every common colour blindness.
MATCHED: Rgb = (86, 180, 233)  # sky blue
MISSED: Rgb = (240, 228, 66)  # yellow
FALSE: Rgb = (213, 94, 0)  # vermilion
SPLIT: Rgb = (204, 121, 167)  # reddish purple; hatched as well
MERGED: Rgb = (255, 255, 255)  # white, dotted as well: the eighth of theirs, black, would be lost on dark ground
TRUTH: Rgb = (0, 220, 160)  # bluish green, lighter than theirs so that it shows on black

MODALITY_COLORS: dict[str, Rgb] = {
    "small_fluorescent": (0, 114, 178),
    "large_fluorescent": (86, 180, 233),
    "purple_tissue": (204, 121, 167),
    "pink_purple_tissue": (213, 94, 0),
    "grayscale_tissue": (110, 110, 110),
}
OTHER_MODALITY: Rgb = (0, 158, 115)
OTHER_MODALITIES: tuple[Rgb, ...] = (OTHER_MODALITY, (230, 159, 0), *MODALITY_COLORS.values())

GOLDEN_RATIO = 0.6180339887498949
BLUE_STARTS, VIOLET_ENDS = 0.6, 0.83  # hues, as parts of the circle from red


def label_colors(labels: np.ndarray) -> np.ndarray:
    """A bright colour for each label, a function of the label alone.

    The hue steps by the golden ratio, so that successive labels, which are mostly neighbours, are far apart on the
    colour circle; saturation varies with period 3, so that labels of almost one hue still differ. Blue and violet are
    left out: they are lost on black and on stained nuclei.

    Args:
        labels: integers (N,), positive; 0 gives black.

    Returns:
        uint8 (N, 3), RGB.
    """
    labels = np.asarray(labels, dtype=np.int64)
    hsv = np.stack(
        [
            np.mod(VIOLET_ENDS + np.mod(labels * GOLDEN_RATIO, 1.0) * (1 + BLUE_STARTS - VIOLET_ENDS), 1.0) * 360,
            np.take([1.0, 0.55, 0.78], labels % 3),
            np.ones(labels.shape),
        ],
        axis=-1,
    ).astype(np.float32)
    rgb = cv2.cvtColor(hsv.reshape(1, -1, 3), cv2.COLOR_HSV2RGB).reshape(-1, 3) if labels.size else hsv
    return np.rint(np.where(labels[:, None] > 0, rgb, 0) * 255).astype(np.uint8)


def colored_labels(labels: np.ndarray) -> np.ndarray:
    """Paint a label image: each nucleus in the colour of its label, background black.

    Args:
        labels: integers (H, W), 0 background.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    ids, inverse = np.unique(labels, return_inverse=True)
    return label_colors(ids)[inverse.reshape(labels.shape)]


def modality_color(modality: str) -> Rgb:
    """The colour that stands for a modality in every plot."""
    return MODALITY_COLORS.get(modality, OTHER_MODALITY)


def group_colors(names: Sequence[str]) -> dict[str, Rgb]:
    """A colour for each of several groups in one plot: a modality has its own, any other name the next that is free.

    Args:
        names: distinct.

    Returns:
        Name to RGB; distinct for up to seven names, then they repeat.
    """
    colors = {name: MODALITY_COLORS[name] for name in names if name in MODALITY_COLORS}
    free = cycle([color for color in OTHER_MODALITIES if color not in colors.values()] or OTHER_MODALITIES)
    return {name: colors[name] if name in colors else next(free) for name in names}


def hex_color(color: Rgb) -> str:
    """As CSS and SVG write it: "#56b4e9"."""
    return "#{:02x}{:02x}{:02x}".format(*color)
