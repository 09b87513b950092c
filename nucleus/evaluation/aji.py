"""Aggregated Jaccard index: one ratio of pixels that punishes bad shapes, missed, merged and invented nuclei at once.

Kumar et al. 2017, "A Dataset and a Technique for Generalized Nuclear Segmentation for Computational Pathology", IEEE
Transactions on Medical Imaging 36(7), algorithm 1, as in the authors' own `Aggregated_Jaccard_Index_v1_0.m`. Others
take the largest intersection instead of the largest IoU (cellseg-metrics), or match one to one (AJI+).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleus.evaluation.counts import share
from nucleus.masks.overlap import OverlapTable


@dataclass(frozen=True)
class AjiCounts:
    """The two pixel sums of algorithm 1: its C and its U."""

    intersection: int
    union: int

    @property
    def aji(self) -> float:
        """AJI = C / U; 1 without any nucleus. Pooled: both sums run over all images."""
        return share(self.intersection, self.union)


def aji_counts(table: OverlapTable) -> AjiCounts:
    """Sum intersections and unions over the true nuclei of one image.

    Each true nucleus takes the prediction with the largest IoU; several may take the same one, as in the paper (AJI+
    and others that match one to one differ here). Of equal IoUs the smaller label is taken, as the authors' `max`
    does. A true nucleus that no prediction overlaps adds its area to the union, a prediction that none took likewise.
    """
    iou, truth = table.iou, table.truth_index
    largest = np.zeros(len(table.truth_ids))
    np.maximum.at(largest, truth, iou)
    candidates = np.flatnonzero(iou == largest[truth])[::-1]
    best = np.full(len(table.truth_ids), -1)
    best[truth[candidates]] = candidates  # of several the last one stays, the smallest label
    missed = best < 0
    best = best[~missed]
    unused = np.ones(len(table.prediction_ids), dtype=bool)
    unused[table.prediction_index[best]] = False
    return AjiCounts(
        intersection=int(table.intersection[best].sum()),
        union=int(table.union[best].sum() + table.truth_areas[missed].sum() + table.prediction_areas[unused].sum()),
    )
