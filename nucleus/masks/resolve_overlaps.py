"""From scored masks that may overlap to one label image in which every pixel has one owner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.rle import Rle

MIN_KEPT = 0.5  # share of its pixels; a mask that keeps less is more likely a second look at the same nucleus


def label_image_from_box_masks(
    masks: BoxMasks,
    scores: Sequence[float] | np.ndarray,
    *,
    score_threshold: float = 0.0,
    min_kept: float = MIN_KEPT,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw scored masks into one label image.

    Masks with a score below the threshold are left out. A pixel that several masks claim goes to the one with the
    highest score; of equal scores, to the earlier one. A mask that keeps a smaller share of its pixels than `min_kept`
    is a part of a nucleus that another mask describes, and is dropped, as is a mask without pixels; what it would have
    taken stays free for the masks after it.

    Args:
        masks: N masks of one image of H x W pixels.
        scores: N scores.
        score_threshold: lowest score that counts.
        min_kept: share of its pixels, in [0, 1], that a mask must keep.

    Returns:
        The label image, int32 (H, W), nuclei numbered 1..n from the highest score down; which mask each of them is,
        int64 (n,); and how many masks at or above the threshold were dropped.
    """
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    order = order[values[order] >= score_threshold]  # NaN is left out, too
    # Down the columns, as the crops are held.
    labels = np.zeros((masks.width, masks.height), dtype=np.int32)
    boxes, crops, areas = masks.boxes.tolist(), masks.crops(), masks.areas.tolist()
    kept: list[int] = []
    for index in order.tolist():
        left, top, right, bottom = boxes[index]
        view = labels[left:right, top:bottom]
        free = view == 0
        free &= crops[index].T
        remaining = np.count_nonzero(free)
        if remaining == 0 or remaining < min_kept * areas[index]:
            continue
        kept.append(index)
        view[free] = len(kept)
    return np.ascontiguousarray(labels.T), np.array(kept, dtype=np.int64), len(order) - len(kept)


def label_image_from_scored(
    rles: Sequence[Rle],
    scores: Sequence[float],
    height: int,
    width: int,
    *,
    score_threshold: float = 0.0,
    min_kept: float = MIN_KEPT,
) -> tuple[np.ndarray, int]:
    """Draw scored masks, given as RLE, into one label image: `label_image_from_box_masks`.

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
    chosen = [index for index, score in enumerate(scores) if score >= score_threshold]  # decoding is what takes long
    masks = BoxMasks.from_coco([rles[index] for index in chosen], height, width)
    labels, _, dropped = label_image_from_box_masks(
        masks, [scores[index] for index in chosen], score_threshold=score_threshold, min_kept=min_kept
    )
    return labels, dropped
