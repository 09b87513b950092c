"""From scored masks that may overlap to one label image in which every pixel has one owner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nucleus.masks.rle import Rle, pixels_from_coco

MIN_KEPT = 0.5  # share of its pixels; a mask that keeps less is more likely a second look at the same nucleus


def label_image_from_scored(
    rles: Sequence[Rle],
    scores: Sequence[float],
    height: int,
    width: int,
    *,
    score_threshold: float = 0.0,
    min_kept: float = MIN_KEPT,
) -> tuple[np.ndarray, int]:
    """Draw scored masks into one label image.

    Masks with a score below the threshold are left out. A pixel that several masks claim goes to the one with the
    highest score; of equal scores, to the earlier one. A mask that keeps a smaller share of its pixels than `min_kept`
    is a part of a nucleus that another mask describes, and is dropped, as is a mask without pixels; what it would have
    taken stays free for the masks after it.

    Args:
        rles: N COCO RLEs of size [height, width].
        scores: N scores.
        height: H in pixels.
        width: W in pixels.
        score_threshold: lowest score that counts.
        min_kept: share of its pixels, in [0, 1], that a mask must keep.

    Returns:
        The label image, int32 (H, W), nuclei numbered 1..n from the highest score down, and how many masks at or above
        the threshold were dropped.
    """
    values = np.asarray(scores, dtype=np.float64)
    columns = np.zeros(height * width, dtype=np.int32)
    count = dropped = 0
    for index in np.argsort(-values, kind="stable"):
        if not values[index] >= score_threshold:  # so that NaN is left out, too
            continue
        pixels = pixels_from_coco(rles[index])
        free = pixels[columns[pixels] == 0]
        if free.size == 0 or free.size < min_kept * pixels.size:
            dropped += 1
            continue
        count += 1
        columns[free] = count
    return np.ascontiguousarray(columns.reshape(width, height).T), dropped
