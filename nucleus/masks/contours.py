"""Outlines of the nuclei of a label image."""

from __future__ import annotations

import numpy as np


def outline_pixels(labels: np.ndarray) -> np.ndarray:
    """Pixels of nuclei that touch another label or background to the left, right, above or below.

    The border of the image counts as no neighbour: a nucleus cut by it is open there.

    Args:
        labels: integers (H, W), 0 background.

    Returns:
        bool (H, W), True only inside nuclei.
    """
    edge = np.zeros(labels.shape, dtype=bool)
    vertical = labels[1:] != labels[:-1]
    horizontal = labels[:, 1:] != labels[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    return edge & (labels != 0)
