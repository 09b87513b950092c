"""Which predicted nucleus is which true one, at an IoU threshold.

A pair matches when its IoU exceeds the threshold strictly. IoU is a ratio of pixel counts, so the comparison is made in
whole numbers: an IoU of exactly 7/10 does not exceed 0.7, whatever a float makes of either.

Matching is one-to-one. Nuclei of one label image are disjoint, so a nucleus can have an IoU above 0.5 with one other
at the most: at thresholds of 0.5 and above all pairs that exceed it are the matching, and no other is as large
(Kirillov et al. 2019, "Panoptic Segmentation", section 4.1). Below 0.5 the rule is: as many pairs as possible, and
among the matchings with that many the one with the largest sum of IoU.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
from scipy.optimize import linear_sum_assignment

from nucleus.masks.overlap import OverlapTable

TWENTIETHS = range(10, 20)
IOU_THRESHOLDS = tuple(k / 20 for k in TWENTIETHS)  # 0.50, 0.55 ... 0.95


def exceeds(table: OverlapTable, threshold: float) -> np.ndarray:
    """Tell which overlapping pairs have an IoU above the threshold.

    Args:
        table: overlaps of one image.
        threshold: in [0, 1]; taken as the nearest fraction with a denominator up to 1,000, so that 0.7 means 7/10.

    Returns:
        bool (K,), one a pair of the table.
    """
    fraction = _fraction(threshold)
    return table.intersection * fraction.denominator > table.union * fraction.numerator


@lru_cache
def _fraction(threshold: float) -> Fraction:
    return Fraction(threshold).limit_denominator(1000)


def matched_pairs(table: OverlapTable, threshold: float = 0.5) -> np.ndarray:
    """Match true and predicted nuclei one to one, by the rule at the top of this module.

    Args:
        table: overlaps of one image.
        threshold: IoU that a match exceeds, in [0, 1].

    Returns:
        int64 (M,): positions of the matched pairs in the table, ascending.
    """
    candidates = np.flatnonzero(exceeds(table, threshold))
    if threshold >= 0.5 or candidates.size == 0:
        return candidates
    rows, row = np.unique(table.truth_index[candidates], return_inverse=True)
    columns, column = np.unique(table.prediction_index[candidates], return_inverse=True)
    pair = np.full((rows.size, columns.size), -1, dtype=np.int64)
    pair[row, column] = candidates
    weight = np.zeros(pair.shape)
    weight[row, column] = 1 + table.iou[candidates] / (min(pair.shape) + 1)  # one more pair outweighs every IoU
    matched = pair[linear_sum_assignment(weight, maximize=True)]
    return np.sort(matched[matched >= 0])


def matches_by_threshold(table: OverlapTable) -> tuple[int, ...]:
    """Count the matches at each of IOU_THRESHOLDS.

    An IoU of I/U exceeds k/20 where 20 I > k U; for whole numbers the largest such k is (20 I - 1) // U.
    """
    highest = (20 * table.intersection - 1) // table.union
    exceeding = np.bincount(highest, minlength=20)[::-1].cumsum()[::-1]  # at k/20: the pairs whose highest is k or more
    return tuple(exceeding[TWENTIETHS.start :].tolist())
