"""The seed protocol: nuclei as connected components of the foreground.

The numbers that this project was asked to beat were taken after merging all masks of an image into one foreground, in
truth and prediction alike, and labelling its 8-connected components: touching nuclei count as one. Its "mAP" is the DSB
score of those components, its F1 their object F1@0.70, its Dice the pixel Dice of the foregrounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleus.evaluation.matching import IOU_THRESHOLDS
from nucleus.evaluation.object_scores import ObjectCounts, object_counts
from nucleus.evaluation.pixel_scores import PixelCounts, pixel_counts
from nucleus.masks.label_image import label_components
from nucleus.masks.overlap import label_runs, table_of_runs


@dataclass(frozen=True)
class SeedProtocolCounts:
    """Counts of the components (as objects) and of the foreground pixels."""

    objects: ObjectCounts
    pixels: PixelCounts

    @property
    def dsb_score(self) -> float:
        """The protocol's "mAP": DSB score of the components."""
        return self.objects.dsb_score

    @property
    def f1_at_70(self) -> float:
        """Object F1@0.70 of the components."""
        return self.objects.f1[IOU_THRESHOLDS.index(0.7)]

    @property
    def pixel_dice(self) -> float:
        """Pixel Dice of the foregrounds: merging changes none of it."""
        return self.pixels.dice


def seed_protocol_counts(truth: np.ndarray, prediction: np.ndarray) -> SeedProtocolCounts:
    """Merge, label and count one image.

    Args:
        truth: integers or booleans (H, W), 0 background.
        prediction: likewise, of the same shape.
    """
    starts, lengths = label_runs(truth != 0, prediction != 0)
    # A run lies in one component, so that the components of one side at a time are all that has to be held.
    true_components = label_components(truth).take(starts)
    table = table_of_runs(true_components, label_components(prediction).take(starts), lengths)
    return SeedProtocolCounts(object_counts(table), pixel_counts(table))
