from __future__ import annotations

import numpy as np
import pytest
from cellseg_metrics import aggregated_jaccard_index

from nucleus.evaluation.aji import AjiCounts, aji_counts
from nucleus.masks.overlap import OverlapTable, overlap_table


def counts(truth: list[int], prediction: list[int]) -> AjiCounts:
    return aji_counts(overlap_table(np.array([truth]), np.array([prediction])))


def test_by_hand():
    # 1 takes 5 (2 of 3 pixels), 2 is missed (1 pixel), 8 is invented (2 pixels)
    assert counts([1, 1, 0, 2, 0, 0], [5, 5, 5, 0, 8, 8]) == AjiCounts(intersection=2, union=3 + 1 + 2)


def test_a_prediction_over_two_nuclei_is_taken_twice():
    # both take 5 (4 pixels): 2 of 4 shared each; one-to-one variants of the score (AJI+) would differ
    assert counts([1, 1, 2, 2], [5, 5, 5, 5]) == AjiCounts(intersection=2 + 2, union=4 + 4)


def test_the_largest_iou_decides_not_the_largest_intersection():
    # 1 shares 2 pixels with 6 (8 pixels, IoU 2/9) and 1 with 7 (1 pixel, IoU 1/3)
    assert counts([1, 1, 1, 0, 0, 0, 0, 0, 0], [7, 6, 6, 6, 6, 6, 6, 6, 6]) == AjiCounts(intersection=1, union=3 + 8)


def test_of_equal_ious_the_smaller_label_is_taken():
    # two pixels of six and three of nine: either is a third
    truth = [1, 1, 1, 1, 1, 1, 0, 0, 0]
    assert counts(truth, [4, 4, 8, 8, 8, 0, 8, 8, 8]) == AjiCounts(intersection=2, union=6 + 6)
    assert counts(truth, [4, 4, 3, 3, 3, 0, 3, 3, 3]) == AjiCounts(intersection=3, union=9 + 2)


def test_empty_images():
    assert counts([0], [0]).aji == 1
    assert counts([1], [0]) == AjiCounts(0, 1)
    assert counts([0], [1]) == AjiCounts(0, 1)
    assert counts([0], [1]).aji == 0


def same_choice(table: OverlapTable) -> bool:
    """Does the largest intersection, cellseg-metrics' choice, name the same single prediction for every truth?"""
    for truth in range(len(table.truth_ids)):
        pairs = table.truth_index == truth
        shared, iou = table.intersection[pairs], table.iou[pairs]
        if pairs.any() and ((shared == shared.max()).sum() > 1 or shared.argmax() != iou.argmax()):
            return False
    return True


@pytest.mark.parametrize(("kind", "least"), [("random", 50), ("real", 30)])
def test_agrees_with_cellseg_metrics_where_both_take_the_same_predictions(request, agree, kind, least):
    found, expected = [], []
    for truth, prediction in request.getfixturevalue(f"{kind}_pairs"):
        table = overlap_table(truth, prediction)
        if table.intersection.size and same_choice(table):
            found.append(aji_counts(table).aji)
            expected.append(aggregated_jaccard_index(truth, prediction, eps=0))
    assert len(found) >= least
    agree("AJI", f"cellseg-metrics, {kind}, where the choices are the same", found, expected, 1e-12)
