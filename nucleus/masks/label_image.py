"""Label images: one integer array (H, W) in which 0 is background and 1..n are the nuclei.

A label image cannot hold overlapping masks. Where masks meet, the earlier one keeps the pixel.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np


def label_image_from_masks(masks: Iterable[np.ndarray], height: int, width: int) -> tuple[np.ndarray, int]:
    """Draw masks into one label image, the first mask as 1, the second as 2 and so on.

    Args:
        masks: boolean arrays (H, W), in order of precedence: an earlier mask keeps the pixels it shares.
        height: H in pixels.
        width: W in pixels.

    Returns:
        The label image, int32 (H, W), and the number of pixels claimed by more than one mask (each pixel counted
        once for every later mask that lost it). A mask that lost all its pixels leaves its label unused.
    """
    labels = np.zeros((height, width), dtype=np.int32)
    lost = 0
    for index, mask in enumerate(masks, start=1):
        free = labels == 0
        lost += int(np.count_nonzero(mask & ~free))
        labels[mask & free] = index
    return labels, lost


def masks_from_label_image(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a label image into one boolean mask a nucleus.

    Args:
        labels: integers (H, W), 0 background.

    Returns:
        Masks, bool (N, H, W), and their labels, int (N,), ascending. N is 0 for an empty image.
    """
    ids = np.unique(labels)
    ids = ids[ids != 0]
    return labels[None] == ids[:, None, None], ids


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
