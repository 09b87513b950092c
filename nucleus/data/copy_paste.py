"""Copy-paste augmentation (Ghiasi et al. 2021, "Simple Copy-Paste"): nuclei of one view of an image on another.

Both views are of the same image, so that stain, focus and background agree, and pasted nuclei touch and cover those
that are there, as crowded nuclei do.
"""

from __future__ import annotations

import cv2
import numpy as np

SHARE = 0.5  # of the whole nuclei of the other view that are pasted
EDGE_SIGMA = 1.0  # pixels, of the blur that blends their edges


def paste(
    image: np.ndarray, labels: np.ndarray, other: np.ndarray, other_labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paste a random half of the nuclei of one view on another.

    Args:
        image, labels: uint8 (H, W[, 3]) and int16 or int32 (H, W): the view that gets them.
        other, other_labels: the view that gives them, of any size; its corner is laid on that of the first.
        rng: source of all randomness.

    Returns:
        New image and labels. What is covered is no longer part of the nucleus under it.
    """
    height, width = (min(pair) for pair in zip(labels.shape, other_labels.shape, strict=True))
    given = other_labels[:height, :width]
    cut = np.concatenate([given[0], given[-1], given[:, 0], given[:, -1]])
    whole = np.setdiff1d(np.unique(given), np.append(cut, 0))
    chosen = whole[rng.random(len(whole)) < SHARE]
    first = int(labels.max(initial=0)) + 1
    if not len(chosen) or first + len(chosen) > np.iinfo(labels.dtype).max:
        return image, labels
    ids = np.zeros(int(given.max()) + 1, dtype=labels.dtype)
    ids[chosen] = np.arange(first, first + len(chosen))
    pasted = ids[given]
    alpha = cv2.GaussianBlur((pasted > 0).astype(np.float32), (0, 0), EDGE_SIGMA)
    alpha = alpha if image.ndim == 2 else alpha[..., None]
    mixed, drawn = image.copy(), labels.copy()
    corner = mixed[:height, :width]
    corner[...] = np.rint(alpha * other[:height, :width] + (1 - alpha) * corner).astype(np.uint8)
    np.copyto(drawn[:height, :width], pasted, where=pasted > 0)
    return mixed, drawn
