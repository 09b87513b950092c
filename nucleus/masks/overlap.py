"""The overlap table of two label images: which nuclei share how many pixels. Every score is computed from it.

The table is sparse: a nucleus overlaps a handful of others, so that N truths and M predictions have about N + M pairs
that overlap, not N x M.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nucleus.masks.box_masks import BoxMasks

# A look at every entry of a table of this size, and of so many more for each key, is faster than sorting the keys.
_TABLE_SIZE, _KEYS_PER_SORTED = 1 << 16, 64


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

    @cached_property
    def union(self) -> np.ndarray:
        """int64 (K,): pixels in either nucleus of each pair."""
        areas = self.truth_areas[self.truth_index] + self.prediction_areas[self.prediction_index]
        return areas - self.intersection

    @cached_property
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
    starts, lengths = label_runs(truth, prediction)
    return table_of_runs(truth.take(starts), prediction.take(starts), lengths)


def largest_ious(labels: np.ndarray, masks: BoxMasks) -> np.ndarray:
    """The IoU of each mask, which may overlap others, with the nucleus that it fits best.

    Args:
        labels: integers (H, W), 0 background.
        masks: N of them, of the same image.

    Returns:
        float64 (N,), in [0, 1]; 0 for a mask without pixels and where there are no nuclei.
    """
    areas = np.bincount(labels.ravel())
    ious = np.zeros(len(masks))
    for number, (box, crop) in enumerate(zip(masks.boxes.tolist(), masks.crops(), strict=True)):
        left, top, right, bottom = box
        shared = np.bincount(labels[top:bottom, left:right][crop], minlength=len(areas))[1:]
        ious[number] = (shared / (areas[1:] + np.count_nonzero(crop) - shared).clip(min=1)).max(initial=0)
    return ious


def table_of_runs(truth: np.ndarray, prediction: np.ndarray, lengths: np.ndarray) -> OverlapTable:
    """Make the table of two label images from runs of pixels in which neither label changes.

    Args:
        truth: integers or booleans (R,), the label of each run in the truth, 0 background.
        prediction: likewise, in the prediction.
        lengths: int64 (R,), pixels of each run.

    Raises:
        ValueError: a label is negative.
    """
    truth_ids, truth_number = _number(truth)
    prediction_ids, prediction_number = _number(prediction)
    pixels = lengths.astype(np.float64)  # exact: sums of them are far below 2**53
    both = np.flatnonzero((truth_number > 0) & (prediction_number > 0))
    pairs, pair_number = _distinct((truth_number[both] - 1) * len(prediction_ids) + prediction_number[both] - 1)
    return OverlapTable(
        truth_ids=truth_ids,
        prediction_ids=prediction_ids,
        truth_areas=_sums(truth_number, pixels, len(truth_ids) + 1)[1:],
        prediction_areas=_sums(prediction_number, pixels, len(prediction_ids) + 1)[1:],
        truth_index=pairs // max(len(prediction_ids), 1),
        prediction_index=pairs % max(len(prediction_ids), 1),
        intersection=_sums(pair_number, pixels[both], len(pairs)),
    )


def label_runs(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the runs of pixels in which neither of two label images changes. A run ends with its row.

    Args:
        truth: integers or booleans (H, W).
        prediction: likewise, of the same shape.

    Returns:
        int64 (R,): the first pixel of each run, as an offset into the raveled image, and its number of pixels.

    Raises:
        ValueError: the shapes differ, or the values are no whole numbers.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"expected label images of one size, found {truth.shape} and {prediction.shape}")
    for labels in (truth, prediction):
        if labels.dtype.kind not in "bui":
            raise ValueError(f"expected a label image of whole numbers, found {labels.dtype}")
    if truth.size == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    width, truth, prediction = truth.shape[-1], truth.ravel(), prediction.ravel()
    begins = np.empty(truth.shape, dtype=bool)
    np.not_equal(truth[1:], truth[:-1], out=begins[1:])
    begins[1:] |= prediction[1:] != prediction[:-1]
    begins[::width] = True
    starts = np.flatnonzero(begins)
    lengths = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1] = truth.size - starts[-1]
    return starts, lengths


def _number(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct labels without background, and each label's position among them counted from 1, background 0."""
    labels = labels.astype(np.int64)
    if labels.size and labels.min() < 0:
        raise ValueError(f"expected labels of 0 and above, found {labels.min()}")
    ids, number = _distinct(labels)
    if ids.size and ids[0] == 0:
        return ids[1:], number
    return ids, number + 1


def _distinct(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys, ascending, and each key's position among them; keys are int64 of 0 and above.

    Where keys are not much larger than there are many, they are looked up in a table instead of sorted.
    """
    largest = int(keys.max(initial=0))
    if largest > _TABLE_SIZE + _KEYS_PER_SORTED * keys.size:
        return np.unique(keys, return_inverse=True)
    present = np.zeros(largest + 1, dtype=bool)
    present[keys] = True
    distinct = np.flatnonzero(present)
    position = np.empty(largest + 1, dtype=np.int64)
    position[distinct] = np.arange(distinct.size)
    return distinct, position[keys]


def _sums(groups: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sum of the values of each group, as whole numbers."""
    return np.bincount(groups, weights=values, minlength=count).astype(np.int64)
