"""Splits and merges: a true nucleus that several predictions share, and a prediction that covers several true nuclei.

No average precision shows them. The rule is that of Caicedo et al. 2019, "Evaluation of Deep Learning Strategies for
Nucleus Segmentation in Fluorescence Images", Cytometry Part A 95(9), as in the authors' own `get_splits_and_merges`: a
true nucleus is *split* if two or more predictions have an IoU above 0.1 with it, a prediction *merges* if it has an IoU
above 0.1 with two or more true nuclei. Compared in whole numbers, so that an IoU of exactly 1/10 does not count.

A split nucleus may be matched all the same, if one of its pieces is large enough; so may a prediction that merges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleus.evaluation.matching import exceeds
from nucleus.masks.overlap import OverlapTable

SHARED_ABOVE = 0.1  # IoU


@dataclass(frozen=True, slots=True)
class SplitMergeCounts:
    """True nuclei that are split and predictions that merge, in one image, or in many when pooled."""

    splits: int
    merges: int


def split_merge_counts(table: OverlapTable) -> SplitMergeCounts:
    """Count the splits and merges of one image."""
    splits, merges = splits_and_merges(table)
    return SplitMergeCounts(len(splits), len(merges))


def splits_and_merges(table: OverlapTable) -> tuple[np.ndarray, np.ndarray]:
    """Find the nuclei that are split or merged, by the rule at the top of this module.

    Args:
        table: overlaps of one image.

    Returns:
        int64 (S,), positions in `table.truth_ids` of the split nuclei, and int64 (M,), positions in
        `table.prediction_ids` of the predictions that merge; both ascending.
    """
    shared = exceeds(table, SHARED_ABOVE)
    predictions = np.bincount(table.truth_index[shared], minlength=len(table.truth_ids))
    truths = np.bincount(table.prediction_index[shared], minlength=len(table.prediction_ids))
    return np.flatnonzero(predictions > 1), np.flatnonzero(truths > 1)
