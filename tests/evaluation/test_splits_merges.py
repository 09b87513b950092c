from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from nucleus.evaluation.counts import pool
from nucleus.evaluation.splits_merges import SplitMergeCounts, split_merge_counts, splits_and_merges
from nucleus.masks.overlap import overlap_table


def counts(truth: list[int], prediction: list[int]) -> tuple[int, int]:
    found = split_merge_counts(overlap_table(np.array([truth]), np.array([prediction])))
    return found.splits, found.merges


def test_by_hand():
    assert counts([1, 1, 1, 1], [1, 1, 2, 2]) == (1, 0)  # one nucleus in two halves
    assert counts([1, 1, 2, 2], [1, 1, 1, 1]) == (0, 1)  # two nuclei in one
    assert counts([1, 1, 2, 2], [1, 1, 2, 2]) == (0, 0)
    assert counts([1, 1, 0, 0], [0, 0, 2, 2]) == (0, 0)  # missed and invented
    assert counts([0, 0, 0, 0], [0, 0, 0, 0]) == (0, 0)
    assert counts([1, 1, 1, 2, 2, 2], [1, 1, 2, 2, 3, 3]) == (2, 1)  # both split, and the middle one merges


def test_a_crumb_is_no_split():
    """9 and 1 of 10 pixels: an IoU of exactly 1/10 is not above it; 8 and 2 of 10 are a split."""
    assert counts([1] * 10, [1] * 9 + [2]) == (0, 0)
    assert counts([1] * 10, [1] * 8 + [2] * 2) == (1, 0)


def test_a_found_nucleus_may_be_split_all_the_same():
    table = overlap_table(np.array([[5] * 10]), np.array([[7] * 8 + [9] * 2]))
    splits, merges = splits_and_merges(table)
    assert table.truth_ids[splits].tolist() == [5]
    assert merges.size == 0
    assert table.iou.max() > 0.5


@pytest.mark.parametrize("kind", ["random", "real"])
def test_agrees_with_the_dense_matrix_of_the_paper(request, kind):
    """Every pair of nuclei compared, as the authors do: IoU > 0.1, two or more in a row (split) or column (merge)."""
    found = expected = 0
    for truth, prediction in request.getfixturevalue(f"{kind}_pairs")[::3]:
        table = overlap_table(truth, prediction)
        above = np.zeros((len(table.truth_ids), len(table.prediction_ids)), dtype=bool)
        for row, true in enumerate(table.truth_ids):
            for column in np.flatnonzero(np.isin(table.prediction_ids, prediction[truth == true])):
                predicted = prediction == table.prediction_ids[column]
                shared, union = int(((truth == true) & predicted).sum()), int(((truth == true) | predicted).sum())
                above[row, column] = Fraction(shared, union) > Fraction(1, 10)
        paper = SplitMergeCounts(int((above.sum(axis=1) > 1).sum()), int((above.sum(axis=0) > 1).sum()))
        assert split_merge_counts(table) == paper
        found, expected = found + paper.splits, expected + paper.merges
    assert found > 10 and expected > 10


def test_they_pool():
    assert pool([SplitMergeCounts(1, 2), SplitMergeCounts(3, 0)]) == SplitMergeCounts(4, 2)
