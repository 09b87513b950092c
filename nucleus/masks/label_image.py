"""Label images: one integer array (H, W) in which 0 is background and 1..n are the nuclei.

A label image cannot hold overlapping masks.
"""

from __future__ import annotations

import cv2
import numpy as np


def relabel_sequential(labels: np.ndarray) -> np.ndarray:
    """Renumber the nuclei 1..n in ascending order of their labels.

    Args:
        labels: integers (H, W), 0 background, gaps allowed.

    Returns:
        int32 (H, W) with the same nuclei.
    """
    ids, inverse = np.unique(labels, return_inverse=True)
    starts_at = 0 if ids.size and ids[0] == 0 else 1
    return (inverse.reshape(labels.shape) + starts_at).astype(np.int32)


def label_components(labels: np.ndarray) -> np.ndarray:
    """Merge all nuclei into one foreground and label its 8-connected components.

    Args:
        labels: integers or booleans (H, W), 0 background.

    Returns:
        int32 (H, W), components 1..n in raster order.
    """
    # Wu's algorithm numbers components by their first pixel; OpenCV's default looks at blocks of 2 x 2 pixels.
    foreground = np.not_equal(labels, 0, order="C").view(np.uint8)
    if foreground.size == 0:
        return np.zeros(foreground.shape, dtype=np.int32)
    return cv2.connectedComponentsWithAlgorithm(foreground, 8, cv2.CV_32S, cv2.CCL_WU)[1]
