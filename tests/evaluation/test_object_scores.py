from __future__ import annotations

import numpy as np

from nucleus.evaluation.counts import pool
from nucleus.evaluation.object_scores import ObjectCounts, object_counts
from nucleus.masks.overlap import overlap_table


def test_by_hand():
    # Nucleus 1 is found whole (IoU 1), 2 with IoU 6/10, 3 is missed, and 9 is invented.
    truth = np.array([[1, 1, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 3]])
    prediction = np.array([[4, 4, 0, 5, 5, 5, 5, 5, 5, 0, 0, 0, 0, 9, 0]])
    counts = object_counts(overlap_table(truth, prediction))
    assert counts == ObjectCounts(truths=3, predictions=3, true_positives=(2, 2, 1, 1, 1, 1, 1, 1, 1, 1))
    assert counts.false_positives == counts.false_negatives == (1, 1, 2, 2, 2, 2, 2, 2, 2, 2)
    assert counts.f1 == (4 / 6, 4 / 6) + (2 / 6,) * 8
    assert abs(counts.dsb_score - (2 * (2 / 4) + 8 * (1 / 5)) / 10) < 1e-15


def test_nothing_to_find_and_nothing_found_is_perfect():
    counts = ObjectCounts(0, 0, (0,) * 10)
    assert counts.dsb_score == 1
    assert counts.f1 == (1,) * 10


def test_one_side_empty_is_zero():
    for counts in (ObjectCounts(3, 0, (0,) * 10), ObjectCounts(0, 3, (0,) * 10)):
        assert counts.dsb_score == 0
        assert counts.f1 == (0,) * 10


def test_pooled_is_the_score_of_the_summed_counts():
    perfect, nothing = ObjectCounts(1, 1, (1,) * 10), ObjectCounts(3, 0, (0,) * 10)
    pooled = pool([perfect, nothing])
    assert pooled.dsb_score == 1 / 4  # the image mean would be 1/2
    assert pooled.f1 == (2 / 5,) * 10
