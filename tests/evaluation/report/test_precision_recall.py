"""Precision and recall by hand, and against what an evaluation at each threshold gives."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus.evaluation.object_scores import object_counts
from nucleus.evaluation.report.precision_recall import precision_recall
from nucleus.evaluation.threshold import RankedNuclei, rank_nuclei
from nucleus.masks.overlap import overlap_table


def test_by_hand() -> None:
    """Three true nuclei; scores 0.9 (found), 0.8 (false), 0.7 (found at IoU > 0.5 only)."""
    images = [RankedNuclei(2, np.array([0.9, 0.7]), np.array([10, 1])), RankedNuclei(1, np.array([0.8]), np.array([0]))]
    scores, recall, precision = precision_recall(images, 0.5)
    assert scores.tolist() == [0.9, 0.8, 0.7]
    assert recall.tolist() == [1 / 3, 1 / 3, 2 / 3]
    assert precision.tolist() == [1, 1 / 2, 2 / 3]
    assert precision_recall(images, 0.9)[2].tolist() == [1, 1 / 2, 1 / 3]


def test_equal_scores_come_in_together() -> None:
    images = [RankedNuclei(2, np.array([0.5, 0.5]), np.array([0, 10]))]
    assert [values.tolist() for values in precision_recall(images, 0.5)] == [[0.5], [0.5], [0.5]]


def test_nuclei_without_a_score_are_left_out() -> None:
    images = [RankedNuclei(1, np.array([np.nan, 0.5]), np.array([0, 10]))]
    assert [values.tolist() for values in precision_recall(images, 0.5)] == [[0.5], [1], [1]]


def test_nothing_to_find() -> None:
    _, recall, precision = precision_recall([RankedNuclei(0, np.array([0.5]), np.array([0]))], 0.5)
    assert (recall.tolist(), precision.tolist()) == ([1], [0])


def test_other_thresholds_are_refused() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        precision_recall([RankedNuclei(1, np.array([0.5]), np.array([0]))], 0.45)


def test_equals_an_evaluation_at_every_threshold(random_pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """The claim of the module: one drawing gives what label images at every threshold give."""
    for seed, (truth, prediction) in enumerate(random_pairs[:40]):
        own = np.sort(np.random.default_rng(seed).random(int(prediction.max(initial=0))))[::-1]
        ranked = rank_nuclei(overlap_table(truth, prediction), own)
        for iou, place in ((0.5, 0), (0.7, 4), (0.95, 9)):
            present = np.unique(prediction[prediction > 0])
            at = dict(zip(*(values.tolist() for values in precision_recall([ranked], iou)[::2]), strict=True))
            for score in own[present - 1].tolist():
                kept = np.where(np.append(0.0, own)[prediction] >= score, prediction, 0)
                counts = object_counts(overlap_table(truth, kept))
                if present.size == own.size:  # labels without a pixel are detections that never become nuclei
                    assert at[score] == counts.true_positives[place] / counts.predictions
