"""The score threshold: how the scores of a data set change with it, and which one to take.

One drawing gives the whole curve. Detections are drawn from the highest score down, and each is kept or dropped by
those above it alone (`nucleus.masks.resolve_overlaps`): the label image at a threshold is the one of all detections
without the nuclei that score lower. And above an IoU of 0.5 a nucleus has one partner at the most
(`nucleus.evaluation.matching`), so that a match is a match whatever else is there. So each nucleus of the one drawing
counts, as a match or as a false positive, at every threshold up to its score, and the counts are those of an
evaluation at that threshold, exactly.

The best threshold is where the DSB score (image mean), averaged over all thresholds within SMOOTHING, is highest; of
equal ones the middle one. The highest point of the curve itself is a matter of a few images on a plateau: the average
looks for the middle of a plateau instead, away from the cliff where nuclei are lost, and stands for scores that are a
little higher or lower on other images. Chosen on half of the fields of view of bbbc038_val for the other half (300
times, the quick model), it lost 0.0045 of DSB score against the best threshold there, the highest point 0.0054, the
middle of the thresholds within one standard error of it 0.0050, and 0.5 for all 0.0102; it varied by 0.06 in place of
0.09.

A threshold is a parameter that is fitted: never on a test set (`is_test_set`), whose scores would not be those of new
images any more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleus.evaluation.matching import IOU_THRESHOLDS, TWENTIETHS
from nucleus.evaluation.object_scores import ObjectCounts
from nucleus.masks.overlap import OverlapTable

THRESHOLDS = tuple(k / 100 for k in range(100))  # 0.00, 0.01 ... 0.99
SMOOTHING = 10  # thresholds on either side
ROUNDING = 1e-12  # scores that differ by less are equal
DSB = "DSB score (image mean)"
TEST_SET = re.compile(r"(^|[^a-z])test", re.IGNORECASE)

Curve = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class RankedNuclei:
    """One image with all its detections drawn, as far as the curve needs it.

    Attributes:
        truths: true nuclei.
        scores: float64 (n,), of the drawn nuclei; one whose score is NaN counts at no threshold.
        levels: int64 (n,), how many of `matching.IOU_THRESHOLDS` the match of each exceeds; 0 is no match.
    """

    truths: int
    scores: np.ndarray
    levels: np.ndarray


def rank_nuclei(table: OverlapTable, scores: Sequence[float] | np.ndarray) -> RankedNuclei:
    """Reduce one image to what the curve needs.

    Args:
        table: of the truth and of the label image of all detections, drawn at threshold 0 (or as low as there are
            scores).
        scores: that of label l is scores[l - 1].
    """
    levels = np.zeros(len(table.prediction_ids), dtype=np.int64)
    highest = (20 * table.intersection - 1) // table.union  # see matching.matches_by_threshold
    pairs = highest >= TWENTIETHS.start
    levels[table.prediction_index[pairs]] = highest[pairs] - TWENTIETHS.start + 1
    return RankedNuclei(len(table.truth_ids), np.asarray(scores, dtype=np.float64)[table.prediction_ids - 1], levels)


def counts_by_threshold(images: Sequence[RankedNuclei], thresholds: Sequence[float] = THRESHOLDS) -> Any:
    """Count the nuclei and matches of N images at T thresholds.

    Args:
        images: N.
        thresholds: T, ascending; a nucleus counts at a threshold up to its score.

    Returns:
        ObjectCounts of arrays: truths (N,), predictions (T, N) and ten of true positives (T, N).
    """
    edges = np.asarray(thresholds, dtype=np.float64)
    shape = (len(edges), len(images), 1 + len(IOU_THRESHOLDS))
    last = np.zeros(shape, dtype=np.int64)  # nuclei by the last threshold at which they count, image and level
    for number, image in enumerate(images):
        counted = image.scores >= edges[0]
        position = np.searchsorted(edges, image.scores[counted], side="right") - 1
        np.add.at(last, (position, number, image.levels[counted]), 1)
    at_level = last[::-1].cumsum(axis=0)[::-1]
    at_least = at_level[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
    kind: Any = ObjectCounts
    return kind(
        truths=np.array([image.truths for image in images]),
        predictions=at_least[:, :, 0],
        true_positives=tuple(at_least[:, :, level] for level in range(1, shape[2])),
    )


def threshold_curve(images: Sequence[RankedNuclei], thresholds: Sequence[float] = THRESHOLDS) -> Curve:
    """Compute scores at every threshold.

    Args:
        images: at least one.
        thresholds: T, ascending.

    Returns:
        By name float64 (T,): "DSB score" and "object F1@0.50" and "@0.70", each as "(image mean)" and "(pooled)", and
        "count error": nuclei too many or too few, |predicted - true|, summed over images, for each true nucleus
        (NaN without any).
    """
    counts = counts_by_threshold(images, thresholds)
    columns = zip(*(matched.sum(axis=1) for matched in counts.true_positives), strict=True)
    truths = int(counts.truths.sum())
    pooled = [
        ObjectCounts(truths, int(predictions), tuple(map(int, matched)))
        for predictions, matched in zip(counts.predictions.sum(axis=1), columns, strict=True)
    ]
    f1 = dict(zip(IOU_THRESHOLDS, range(len(IOU_THRESHOLDS)), strict=True))
    curve = {DSB: counts.dsb_score.mean(axis=1), "DSB score (pooled)": np.array([one.dsb_score for one in pooled])}
    for iou in (0.5, 0.7):
        curve[f"object F1@{iou:.2f} (image mean)"] = counts.f1[f1[iou]].mean(axis=1)
        curve[f"object F1@{iou:.2f} (pooled)"] = np.array([one.f1[f1[iou]] for one in pooled])
    wrong = np.abs(counts.predictions - counts.truths).sum(axis=1)
    curve["count error"] = wrong / truths if truths else np.full(len(wrong), np.nan)
    return curve


def smoothed(values: np.ndarray) -> np.ndarray:
    """Average a curve over SMOOTHING thresholds on either side, fewer near the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    positions = np.arange(len(values))
    low, high = np.maximum(positions - SMOOTHING, 0), np.minimum(positions + SMOOTHING + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def choose_threshold(images: Sequence[RankedNuclei]) -> float:
    """Choose one of THRESHOLDS by the rule at the top of this module.

    Args:
        images: at least one, of a set that is no test set.
    """
    values = smoothed(threshold_curve(images)[DSB])
    best = np.flatnonzero(values >= values.max() - ROUNDING)
    return THRESHOLDS[best[(len(best) - 1) // 2]]


def is_test_set(name: str) -> bool:
    """Whether a data set or a file is a test set by its name: a word in it begins with "test"."""
    return TEST_SET.search(name) is not None
