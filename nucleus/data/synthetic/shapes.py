"""Outlines of nuclei: ellipses whose radius wobbles smoothly with the angle, so star-convex polygons."""

from __future__ import annotations

import cv2
import numpy as np

VERTICES = 40
SUBPIXEL_BITS = 4  # cv2.fillPoly takes coordinates in sixteenths of a pixel


def nucleus_outline(
    rng: np.random.Generator, radius: float, elongation: float, irregularity: float, angle: float
) -> np.ndarray:
    """Draw a random outline around the origin.

    The ellipse of axes radius * sqrt(elongation) and radius / sqrt(elongation), hence of about the area of a circle of
    that radius, times 1 plus harmonics 2 to 6 of random phase whose amplitude falls with the square of their number: a
    strong second or third one gives beans and triangles, the higher ones dents.

    Args:
        rng: source of randomness.
        radius: pixels.
        elongation: long over short axis, at least 1.
        irregularity: about the relative deviation of the radius from the ellipse, 0 to 0.3.
        angle: direction of the long axis in radians, from x towards y (down).

    Returns:
        float (VERTICES, 2): x, y in pixels.
    """
    theta = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    orders = np.arange(2, 7)
    amplitudes = rng.normal(0, irregularity, orders.size) * 4.5 / orders**2
    phases = rng.uniform(0, 2 * np.pi, orders.size)
    wobble = 1 + (amplitudes[:, None] * np.cos(orders[:, None] * theta + phases[:, None])).sum(axis=0)
    wobble = np.clip(wobble, 0.45, 1.7)
    x = radius * np.sqrt(elongation) * np.cos(theta) * wobble
    y = radius / np.sqrt(elongation) * np.sin(theta) * wobble
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=1)


def rasterise(outline: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Fill an outline on the pixel grid, clipped to the image.

    Args:
        outline: float (V, 2), x and y in pixels.
        shape: (H, W) of the image.

    Returns:
        The mask of the part inside the image, bool (h, w), and the rows and columns where it lies. Both are empty for
        an outline that lies outside.
    """
    low = np.floor(outline.min(axis=0)).astype(int) - 1
    high = np.ceil(outline.max(axis=0)).astype(int) + 2
    whole = np.zeros((high[1] - low[1], high[0] - low[0]), dtype=np.uint8)
    points = np.rint((outline - low) * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(whole, [points], 1, shift=SUBPIXEL_BITS)
    left, top = np.clip(low, 0, (shape[1], shape[0]))
    right, bottom = np.clip(high, 0, (shape[1], shape[0]))
    inside = whole[top - low[1] : bottom - low[1], left - low[0] : right - low[0]].astype(bool)
    return inside, (slice(top, bottom), slice(left, right))
