"""Precision against recall as the score threshold falls.

Of the two curves in use this is the one of label images, since these are what a user gets. Detections become nuclei
from the highest score down, and each pixel has one owner, so that a lower threshold adds nuclei and changes none; and
at an IoU of 0.5 and above a nucleus can match one other at the most (see `nucleus.evaluation.threshold`). So the curve
is exact at every threshold and every IoU from 0.5 on, without a greedy matching, and the precision and recall of a
label image lie on it. It is pooled over images and not interpolated.

COCO AP is the area under another curve: of detections that may overlap, matched greedily by score, the precision made
monotone. It is reported as a number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nucleus.evaluation.matching import IOU_THRESHOLDS
from nucleus.evaluation.threshold import RankedNuclei


def precision_recall(images: Sequence[RankedNuclei], iou_threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall at every score, from the highest down; nuclei of one score come in together.

    Args:
        images: all that are pooled; nuclei whose score is NaN are left out.
        iou_threshold: IoU that a match exceeds, one of `matching.IOU_THRESHOLDS`.

    Returns:
        Scores (descending), recall and precision, float64 (S,) each, S distinct scores. Recall is 1 without true
        nuclei.

    Raises:
        ValueError: another threshold, or no image.
    """
    level = 1 + IOU_THRESHOLDS.index(iou_threshold)
    scores = np.concatenate([image.scores for image in images])
    matched = np.concatenate([image.levels >= level for image in images])
    truths = sum(image.truths for image in images)
    order = np.argsort(-scores, kind="stable")[: np.count_nonzero(~np.isnan(scores))]  # NaN sorts to the end
    scores, found = scores[order], np.cumsum(matched[order])
    last = np.flatnonzero(np.diff(scores, append=-np.inf))  # the last nucleus of each score
    recall = found[last] / truths if truths else np.ones(last.size)
    return scores[last], recall, found[last] / (last + 1)
