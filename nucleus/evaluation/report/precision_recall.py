"""Precision against recall as the score threshold falls.

Of the two curves in use this is the one of label images, since these are what a user gets. Detections become nuclei
from the highest score down and each pixel has one owner, so that a lower threshold adds nuclei and changes none; and at
an IoU of 0.5 and above a nucleus can match one other at the most. So whether a nucleus is a true positive does not
depend on the threshold: the curve is exact at every threshold, without a greedy matching, and the label image's own
precision and recall lie on it. It is pooled over images and not interpolated.

COCO AP is the area under another curve: of detections that may overlap, matched greedily by score, the precision made
monotone. It is reported as a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nucleus.masks.overlap import OverlapTable, overlap_table


@dataclass(frozen=True, eq=False)
class ScoredNuclei:
    """Predicted nuclei with their scores, of one image or of many.

    Attributes:
        scores: float64 (P,), of each predicted nucleus.
        twentieths: int64 (P,), the largest k for which the IoU with a true nucleus exceeds k/20; -1 without overlap.
        truths: true nuclei.
    """

    scores: np.ndarray
    twentieths: np.ndarray
    truths: int


def scored_nuclei(truth: np.ndarray, prediction: np.ndarray, scores: np.ndarray) -> ScoredNuclei:
    """Find how well each predicted nucleus of an image fits.

    Args:
        truth: integers (H, W), 0 background.
        prediction: integers (H, W), 0 background; drawn with a score threshold of 0, or as low as there are scores.
        scores: float (n,): that of label l is scores[l - 1].

    Returns:
        Those with a score; nuclei whose score is NaN are left out.
    """
    return scored_from_table(overlap_table(truth, prediction), scores)


def scored_from_table(table: OverlapTable, scores: np.ndarray) -> ScoredNuclei:
    """The same from an overlap table."""
    twentieths = np.full(len(table.prediction_ids), -1, dtype=np.int64)
    np.maximum.at(twentieths, table.prediction_index, (20 * table.intersection - 1) // table.union)
    own = np.asarray(scores, dtype=np.float64)[table.prediction_ids - 1]
    known = ~np.isnan(own)
    return ScoredNuclei(own[known], twentieths[known], len(table.truth_ids))


def pool_scored(images: Sequence[ScoredNuclei]) -> ScoredNuclei:
    """Bring the nuclei of several images together."""
    return ScoredNuclei(
        np.concatenate([image.scores for image in images]) if images else np.zeros(0),
        np.concatenate([image.twentieths for image in images]) if images else np.zeros(0, dtype=np.int64),
        sum(image.truths for image in images),
    )


def precision_recall(nuclei: ScoredNuclei, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall at every score, from the highest down; nuclei of one score come in together.

    Args:
        nuclei: of all images.
        threshold: IoU that a match exceeds: a multiple of 0.05, at least 0.5.

    Returns:
        Scores (descending), recall and precision, float64 (distinct scores,) each. Recall is 1 without true nuclei.

    Raises:
        ValueError: another threshold.
    """
    twentieth = round(threshold * 20)
    if abs(twentieth - threshold * 20) > 1e-9 or twentieth < 10:
        raise ValueError(f"expected an IoU threshold of 0.50, 0.55 ..., found {threshold}")
    order = np.argsort(-nuclei.scores, kind="stable")
    scores = nuclei.scores[order]
    matched = np.cumsum(nuclei.twentieths[order] >= twentieth)
    last = np.flatnonzero(np.diff(scores, append=-np.inf))  # the last nucleus of each score
    recall = matched[last] / nuclei.truths if nuclei.truths else np.ones(last.size)
    return scores[last], recall, matched[last] / (last + 1)
