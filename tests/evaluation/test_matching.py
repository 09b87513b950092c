from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from cellseg_metrics import panoptic_quality
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucleus.evaluation.matching import IOU_THRESHOLDS, TWENTIETHS, exceeds, matched_pairs, matches_by_threshold
from nucleus.masks.overlap import overlap_table


def covered(pixels: int, of: int = 20):
    """A true nucleus of some pixels and a prediction that covers so many of them: an IoU of pixels / of."""
    return overlap_table(np.ones((1, of), dtype=int), (np.arange(of) < pixels)[None].astype(int))


def test_thresholds():
    assert IOU_THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@pytest.mark.parametrize("k", TWENTIETHS)
def test_an_iou_equal_to_the_threshold_is_no_match(k):
    for size in (20, 60, 1_000_000):  # of the nucleus; the IoU stays k/20
        table = covered(k * size // 20, size)
        assert matches_by_threshold(table) == tuple(int(other < k) for other in TWENTIETHS)
        assert not exceeds(table, k / 20).any()
        more = covered(k * size // 20 + 1, size)
        assert exceeds(more, k / 20).all()
        assert matches_by_threshold(more)[k - 10] == 1


def test_thresholds_that_floats_blur():
    drifting = np.arange(0.5, 1, 0.05)  # holds 0.6000000000000001 and 0.7500000000000002
    assert any(float(a) != b for a, b in zip(drifting, IOU_THRESHOLDS, strict=True))
    for k, threshold in zip(TWENTIETHS, drifting, strict=True):
        assert not exceeds(covered(k), threshold).any()
        assert exceeds(covered(k + 1), threshold).all()


def test_a_perfect_nucleus_matches_everywhere():
    assert matches_by_threshold(covered(20)) == (1,) * 10


def test_no_nuclei():
    table = overlap_table(np.zeros((2, 2), int), np.zeros((2, 2), int))
    assert matches_by_threshold(table) == (0,) * 10
    for threshold in (0.1, 0.5, 0.9):
        assert matched_pairs(table, threshold).size == 0


def test_below_one_half_more_pairs_come_before_better_ones():
    # Truths A and B, predictions p and q, pixel by pixel: p covers most of A and a part of B, q only a part of A.
    truth = np.array([[1, 1, 1, 1, 1, 1, 2, 2, 2, 2]])
    prediction = np.array([[5, 5, 4, 4, 4, 4, 4, 4, 0, 0]])
    table = overlap_table(truth, prediction)
    assert table.iou.tolist() == [4 / 8, 2 / 6, 2 / 8]  # A-p (label 4), A-q (label 5), B-p
    assert matched_pairs(table, 0.2).tolist() == [1, 2]  # A-p alone would be the better pair, but only one
    assert matched_pairs(table, 0.3).tolist() == [0]  # one pair only, so the better one
    assert matched_pairs(table, 0.5).tolist() == []


@given(st.data(), st.sampled_from([0.05, 0.2, 0.4, 0.45]))
def test_below_one_half_agrees_with_trying_every_matching(data, threshold):
    truth, prediction = (data.draw(arrays(np.int8, (4, 5), elements=st.integers(0, 3))) for _ in range(2))
    table = overlap_table(truth, prediction)
    iou = np.zeros((3, 3))
    iou[table.truth_index, table.prediction_index] = table.iou
    iou[iou <= threshold] = 0
    best = max(((row > 0).sum(), row.sum()) for row in (iou[range(3), order] for order in permutations(range(3))))

    matched = matched_pairs(table, threshold)
    assert len(set(table.truth_index[matched])) == len(set(table.prediction_index[matched])) == len(matched)
    assert len(matched) == best[0]
    assert table.iou[matched].sum() == pytest.approx(best[1], abs=1e-12)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7])
def test_number_of_matches_agrees_with_cellseg_metrics(random_pairs, agree, threshold):
    found, expected = [], []
    for truth, prediction in random_pairs:
        table = overlap_table(truth, prediction)
        if table.intersection.size:
            nuclei = len(table.truth_ids) + len(table.prediction_ids)
            found.append(2 * len(matched_pairs(table, threshold)) / nuclei)
            expected.append(panoptic_quality(truth, prediction, threshold, eps=1e-15)["dq"])
    assert len(found) > 150
    agree(f"object F1@{threshold:.2f}", "cellseg-metrics, random", found, expected, 1e-12)
