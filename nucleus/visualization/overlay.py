"""Nuclei drawn over their image."""

from __future__ import annotations

import cv2
import numpy as np

from nucleus.formats.image import to_rgb8
from nucleus.masks.contours import outline_pixels
from nucleus.visualization.colors import Rgb, label_colors

DARK = 160  # an image whose brightest pixels stay below this is shown brighter
BRIGHTEST = 99.8  # the percentile that counts as its brightest


def for_display(image: np.ndarray) -> np.ndarray:
    """Bring an image to 8-bit RGB that can be seen: dark ones, as most of fluorescence, are scaled up to white.

    All channels are scaled alike and black stays black.

    Args:
        image: uint8 or uint16, (H, W) or (H, W, C) with 1, 3 or 4 channels; a fourth is dropped.

    Returns:
        uint8 (H, W, 3), RGB; a new array.
    """
    if image.ndim == 3:
        image = image[..., 0] if image.shape[2] == 1 else image[..., :3]
    rgb = to_rgb8(image).copy()
    brightest = float(np.percentile(rgb.max(axis=2), BRIGHTEST)) if rgb.size else 255.0
    if brightest >= DARK:
        return rgb
    scaled = rgb.astype(np.float32) * (255 / max(brightest, 1))
    return np.minimum(np.rint(scaled), 255).astype(np.uint8)


def outline(labels: np.ndarray, width: int = 1) -> np.ndarray:
    """The rim of every nucleus.

    Args:
        labels: integers (H, W), 0 background.
        width: of the rim in pixels.

    Returns:
        bool (H, W), True only inside nuclei.
    """
    edge = outline_pixels(labels)
    if width > 1:
        kernel = np.ones((2 * width - 1, 2 * width - 1), dtype=np.uint8)
        edge = (cv2.dilate(edge.astype(np.uint8), kernel) > 0) & (labels != 0)
    return edge


def overlay_outlines(image: np.ndarray, labels: np.ndarray, color: Rgb | None = None, width: int = 1) -> np.ndarray:
    """Draw the outline of every nucleus, inside the nucleus, all else as in the image.

    Args:
        image: uint8 or uint16, (H, W) or (H, W, C).
        labels: integers (H, W), 0 background.
        color: RGB in [0, 255] for all outlines; None for each label's own colour.
        width: of the outlines in pixels.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    canvas = for_display(image)
    edge = outline(labels, width)
    canvas[edge] = label_colors(labels[edge]) if color is None else color
    return canvas
