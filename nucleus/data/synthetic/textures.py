"""Random fields: smooth noise for light, stain and chromatin, and fibres for connective tissue."""

from __future__ import annotations

import cv2
import numpy as np


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float, stretch: float = 1.0) -> np.ndarray:
    """Smooth noise with features of about one size.

    White noise on a coarse grid, enlarged with cubic interpolation: many times faster than a wide Gaussian filter.

    Args:
        rng: source of randomness.
        shape: (H, W) in pixels.
        scale: size of the features in pixels.
        stretch: how many times longer the features are along the rows than across them.

    Returns:
        float32 (H, W), mean 0 and standard deviation about 1.
    """
    height, width = shape
    rows = max(2, int(np.ceil(height / scale)) + 3)
    columns = max(2, int(np.ceil(width / (scale * stretch))) + 3)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    fine = cv2.resize(
        coarse, (int(columns * scale * stretch) + 1, int(rows * scale) + 1), interpolation=cv2.INTER_CUBIC
    )
    top, left = (int(rng.integers(0, max(1, side - need + 1))) for side, need in zip(fine.shape, shape, strict=True))
    return fine[top : top + height, left : left + width] * np.float32(1.3)  # interpolation shrinks the deviation


def fibres(rng: np.random.Generator, shape: tuple[int, int], width: float = 2.5) -> np.ndarray:
    """Wavy fibres that run in one main direction.

    Args:
        rng: source of randomness.
        shape: (H, W) in pixels.
        width: thickness of a fibre in pixels.

    Returns:
        float32 (H, W), about -1 (between fibres) to 1 (on one).
    """
    side = int(np.hypot(*shape)) + 1
    streaks = smooth_noise(rng, (side, side), width, stretch=12.0)
    angle = float(rng.uniform(0, 180))
    bend = smooth_noise(rng, shape, max(30.0, side / 8)) * (side / 40)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    rows -= shape[0] / 2
    columns -= shape[1] / 2
    cosine, sine = np.float32(np.cos(np.deg2rad(angle))), np.float32(np.sin(np.deg2rad(angle)))
    along = cosine * columns + sine * rows + side / 2
    across = -sine * columns + cosine * rows + side / 2 + bend
    drawn = cv2.remap(streaks, along, across, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.tanh(drawn)
