"""Scores by the size of the nuclei: which sizes are found, and which are missed or invented.

A nucleus belongs to a bin by its area in pixels. True nuclei, found or missed, count in the bin of their own area, and
a match counts in the bin of its *true* nucleus, however large the prediction is. A false positive has no true nucleus:
it counts in the bin of its own area, as COCO's evaluation does with detections that match nothing (Lin et al. 2014).
Matches are those of `matching`, at each of its thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nucleus.evaluation.counts import share
from nucleus.evaluation.matching import IOU_THRESHOLDS, TWENTIETHS
from nucleus.masks.overlap import OverlapTable

AREA_EDGES = (100, 300, 1000)  # pixels; of 33,138 nuclei of BBBC038 20, 31, 40 and 9 % fall into the four bins


def bin_names(edges: Sequence[float]) -> tuple[str, ...]:
    """Names of the bins between edges, each with its upper edge: "to 100", "100 to 300", "above 300"."""
    between = (f"{low:g} to {high:g}" for low, high in pairwise(edges))
    return (f"to {edges[0]:g}", *between, f"above {edges[-1]:g}")


SIZES = bin_names(AREA_EDGES)


@dataclass(frozen=True, slots=True)
class SizeCounts:
    """Nuclei of one image by size, or of many when pooled.

    Attributes:
        truths: true nuclei of each of the B bins of SIZES.
        true_positives: B x 10, bin after bin, each at the ten of `matching.IOU_THRESHOLDS`.
        false_positives: likewise.
    """

    truths: tuple[int, ...]
    true_positives: tuple[int, ...]
    false_positives: tuple[int, ...]

    def scores(self, size: int) -> dict[str, float]:
        """Counts and scores of one bin.

        Args:
            size: position in SIZES.

        Returns:
            "true nuclei"; true positives, false positives and false negatives at IoU > 0.5; the DSB score, and object
            F1 and recall (the share of the true nuclei that are found, NaN without any) at each threshold.
        """
        truths = self.truths[size]
        at = slice(size * len(IOU_THRESHOLDS), (size + 1) * len(IOU_THRESHOLDS))
        found, invented = self.true_positives[at], self.false_positives[at]
        shares = [share(tp, truths + fp) for tp, fp in zip(found, invented, strict=True)]
        scores: dict[str, float] = {
            "true nuclei": truths,
            "true positives@0.50": found[0],
            "false positives@0.50": invented[0],
            "false negatives@0.50": truths - found[0],
            "DSB score": math.fsum(shares) / len(shares),
        }
        for threshold, tp, fp in zip(IOU_THRESHOLDS, found, invented, strict=True):
            scores[f"object F1@{threshold:.2f}"] = share(2 * tp, truths + tp + fp)
        for threshold, tp in zip(IOU_THRESHOLDS, found, strict=True):
            scores[f"recall@{threshold:.2f}"] = tp / truths if truths else math.nan
        return scores


def size_counts(table: OverlapTable) -> SizeCounts:
    """Count the nuclei of one image by size."""
    truth_bin = np.searchsorted(AREA_EDGES, table.truth_areas)  # an area on an edge belongs to the bin below
    prediction_bin = np.searchsorted(AREA_EDGES, table.prediction_areas)
    highest = (20 * table.intersection - 1) // table.union  # see matching.matches_by_threshold
    truths = np.bincount(truth_bin, minlength=len(SIZES))
    predictions = np.bincount(prediction_bin, minlength=len(SIZES))
    found = _by_bin_and_threshold(truth_bin[table.truth_index], highest)
    invented = predictions[:, None] - _by_bin_and_threshold(prediction_bin[table.prediction_index], highest)
    return SizeCounts(tuple(truths.tolist()), tuple(found.ravel().tolist()), tuple(invented.ravel().tolist()))


def _by_bin_and_threshold(bins: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """Matches in each bin at each threshold, int64 (B, 10), from the bin and the highest threshold of each pair."""
    exactly = np.bincount(20 * bins + highest, minlength=20 * len(SIZES)).reshape(len(SIZES), 20)
    return exactly[:, ::-1].cumsum(axis=1)[:, ::-1][:, TWENTIETHS.start :]
