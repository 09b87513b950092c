"""Pixel Dice: how well the foregrounds agree, nuclei aside."""

from __future__ import annotations

from dataclasses import dataclass

from nucleus.evaluation.counts import share
from nucleus.masks.overlap import OverlapTable


@dataclass(frozen=True)
class PixelCounts:
    """Foreground pixels: in both images, in the truth, in the prediction."""

    intersection: int
    truth: int
    prediction: int

    @property
    def dice(self) -> float:
        """Pixel Dice = 2 |A n B| / (|A| + |B|); 1 if both are empty. Pooled: of all pixels of all images."""
        return share(2 * self.intersection, self.truth + self.prediction)


def pixel_counts(table: OverlapTable) -> PixelCounts:
    """Count the foreground pixels of one image; nuclei are disjoint, so that sums over nuclei are the foregrounds."""
    return PixelCounts(
        intersection=int(table.intersection.sum()),
        truth=int(table.truth_areas.sum()),
        prediction=int(table.prediction_areas.sum()),
    )
