"""Panoptic quality for the one class that we have.

Kirillov et al. 2019, "Panoptic Segmentation", CVPR, section 4: PQ = SQ x RQ, with matches at IoU > 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nucleus.evaluation.counts import share
from nucleus.evaluation.matching import matched_pairs
from nucleus.masks.overlap import OverlapTable


@dataclass(frozen=True)
class PanopticCounts:
    """Matches at IoU > 0.5, the sum of their IoUs, and the nuclei of one image, or of many when pooled."""

    truths: int
    predictions: int
    true_positives: int
    iou_sum: float

    @property
    def pq(self) -> float:
        """Panoptic quality: sum of IoU / (TP + FP/2 + FN/2); 1 without any nucleus.

        Pooled: of the sums over all images, which is how the paper takes it over a data set.
        """
        return share(2 * self.iou_sum, self.truths + self.predictions)

    @property
    def sq(self) -> float:
        """Segmentation quality: mean IoU of the matches; 0 without a match, 1 without any nucleus."""
        unmatched = (self.true_positives == 0) * (self.truths + self.predictions)
        return share(self.iou_sum, self.true_positives) * share(0, unmatched)

    @property
    def rq(self) -> float:
        """Recognition quality: object F1 at IoU > 0.5; 1 without any nucleus."""
        return share(2 * self.true_positives, self.truths + self.predictions)


def panoptic_counts(table: OverlapTable) -> PanopticCounts:
    """Match the nuclei of one image and sum their IoUs."""
    matched = table.iou[matched_pairs(table)]
    return PanopticCounts(len(table.truth_ids), len(table.prediction_ids), len(matched), math.fsum(matched))
