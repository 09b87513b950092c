"""The overlap table of two label images: which nuclei share how many pixels. Every score is computed from it.

The table is sparse: a nucleus overlaps a handful of others, so that N truths and M predictions have about N + M pairs
that overlap, not N x M.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class OverlapTable:
    """Nuclei of two label images and the pairs of them that overlap.

    Attributes:
        truth_ids: int64 (T,), the labels of the truth, ascending, without background.
        prediction_ids: int64 (P,), the labels of the prediction, likewise.
        truth_areas: int64 (T,), pixels of each true nucleus.
        prediction_areas: int64 (P,), pixels of each predicted nucleus.
        truth_index: int64 (K,), position in `truth_ids` of each pair that overlaps; pairs are ordered by truth, then
            by prediction.
        prediction_index: int64 (K,), position in `prediction_ids` of each pair.
        intersection: int64 (K,), pixels that the pair shares, at least 1.
    """

    truth_ids: np.ndarray
    prediction_ids: np.ndarray
    truth_areas: np.ndarray
    prediction_areas: np.ndarray
    truth_index: np.ndarray
    prediction_index: np.ndarray
    intersection: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """int64 (K,): pixels in either nucleus of each pair."""
        areas = self.truth_areas[self.truth_index] + self.prediction_areas[self.prediction_index]
        return areas - self.intersection

    @property
    def iou(self) -> np.ndarray:
        """float64 (K,): intersection over union of each pair, in (0, 1].

        To compare with a threshold use `nucleus.evaluation.matching`, which does so in whole numbers.
        """
        return self.intersection / self.union


def overlap_table(truth: np.ndarray, prediction: np.ndarray) -> OverlapTable:
    """Count the pixels that each true nucleus shares with each predicted one.

    One pass over the pixels finds the runs in which neither label changes; all else works on runs.

    Args:
        truth: integers or booleans (H, W), 0 background; labels need not be consecutive.
        prediction: likewise, of the same shape.

    Returns:
        The table; it is empty, with arrays of length 0, where an image has no nucleus.

    Raises:
        ValueError: the shapes differ, the values are no whole numbers, or a label is negative.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise ValueError(f"expected label images of one size, found {truth.shape} and {prediction.shape}")
    truth_runs, prediction_runs, lengths = _runs(truth.ravel(), prediction.ravel())
    truth_ids, truth_number = _number(truth_runs)
    prediction_ids, prediction_number = _number(prediction_runs)

    both = (truth_number > 0) & (prediction_number > 0)
    pair_of_run = (truth_number[both] - 1) * len(prediction_ids) + prediction_number[both] - 1
    pairs, pair_number = np.unique(pair_of_run, return_inverse=True)
    return OverlapTable(
        truth_ids=truth_ids,
        prediction_ids=prediction_ids,
        truth_areas=_sums(truth_number, lengths, len(truth_ids) + 1)[1:],
        prediction_areas=_sums(prediction_number, lengths, len(prediction_ids) + 1)[1:],
        truth_index=pairs // max(len(prediction_ids), 1),
        prediction_index=pairs % max(len(prediction_ids), 1),
        intersection=_sums(pair_number, lengths[both], len(pairs)),
    )


def _runs(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both labels and the length of each run of pixels in which neither changes."""
    for labels in (truth, prediction):
        if labels.dtype.kind not in "bui":
            raise ValueError(f"expected a label image of whole numbers, found {labels.dtype}")
    if truth.size == 0:
        return truth, prediction, np.zeros(0, dtype=np.int64)
    changes = (truth[1:] != truth[:-1]) | (prediction[1:] != prediction[:-1])
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    return truth[starts], prediction[starts], np.diff(starts, append=truth.size)


def _number(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct labels without background, and each label's position among them counted from 1, background 0."""
    ids = np.unique(labels)
    if ids.size and ids[0] < 0:
        raise ValueError(f"expected labels of 0 and above, found {ids[0]}")
    ids = ids[ids != 0]
    return ids.astype(np.int64), np.searchsorted(ids, labels, side="right")


def _sums(groups: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sum of the values of each group; exact, since the sums are pixel counts far below 2**53."""
    return np.bincount(groups, weights=values, minlength=count).astype(np.int64)
