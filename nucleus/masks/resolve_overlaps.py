"""From scored masks that may overlap to one label image in which every pixel has one owner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nucleus.masks.label_image import relabel_sequential
from nucleus.masks.rle import Rle, coco_area, label_image_from_coco

MIN_LEFTOVER = 10  # pixels; half of the smallest nucleus of BBBC038


def label_image_from_scored(
    rles: Sequence[Rle],
    scores: Sequence[float],
    height: int,
    width: int,
    *,
    score_threshold: float = 0.0,
    min_leftover: int = MIN_LEFTOVER,
) -> tuple[np.ndarray, int]:
    """Draw scored masks into one label image.

    Masks with a score below the threshold are left out. A pixel that several masks claim goes to the one with the
    highest score; of equal scores, to the earlier one. A mask that lost pixels and keeps fewer than `min_leftover` is a
    sliver of a nucleus that another mask describes, and is dropped, as is a mask without pixels; a small mask that lost
    nothing stays.

    Args:
        rles: N COCO RLEs of size [height, width].
        scores: N scores.
        height: H in pixels.
        width: W in pixels.
        score_threshold: lowest score that counts.
        min_leftover: pixels that a mask must keep if it lost any.

    Returns:
        The label image, int32 (H, W), nuclei numbered 1..n from the highest score down, and how many masks at or above
        the threshold were dropped.
    """
    kept = [index for index in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
            if scores[index] >= score_threshold]  # fmt: skip
    labels = label_image_from_coco([rles[index] for index in kept], height, width)
    pixels = np.bincount(labels.ravel(), minlength=len(kept) + 1)[1:]
    areas = np.array([coco_area(rles[index]) for index in kept], dtype=np.int64)
    dropped = (pixels == 0) | ((pixels < areas) & (pixels < min_leftover))
    if dropped.any():
        labels[np.concatenate([[False], dropped])[labels]] = 0
        labels = relabel_sequential(labels)
    return labels, int(dropped.sum())
