"""All scores of one image, from one overlap table (and a second one, of components, for the seed protocol)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nucleus.evaluation.aji import AjiCounts, aji_counts
from nucleus.evaluation.matching import IOU_THRESHOLDS
from nucleus.evaluation.nucleus_sizes import SizeCounts, size_counts
from nucleus.evaluation.object_scores import ObjectCounts, object_counts
from nucleus.evaluation.outline_offset import OutlineCounts, outline_counts
from nucleus.evaluation.panoptic import PanopticCounts, panoptic_counts
from nucleus.evaluation.pixel_scores import PixelCounts, pixel_counts
from nucleus.evaluation.seed_protocol import SeedProtocolCounts, seed_protocol_counts
from nucleus.evaluation.splits_merges import SplitMergeCounts, split_merge_counts
from nucleus.masks.overlap import OverlapTable, overlap_table


@dataclass(frozen=True, slots=True)
class ImageScores:
    """The counts behind every score of one image, or of many after `counts.pool`.

    Attributes:
        image_pixels: H x W.
        objects: nuclei and matches.
        pixels: of the foregrounds.
        aji, panoptic, seed_protocol: what the scores of these names are made of.
        splits_merges: true nuclei that are split, predictions that merge.
        sizes: nuclei and matches by the area of the nucleus.
        outlines: radii of matched nuclei.
    """

    image_pixels: int
    objects: ObjectCounts
    pixels: PixelCounts
    aji: AjiCounts
    panoptic: PanopticCounts
    seed_protocol: SeedProtocolCounts
    splits_merges: SplitMergeCounts
    sizes: SizeCounts
    outlines: OutlineCounts


def score_image(truth: np.ndarray, prediction: np.ndarray) -> ImageScores:
    """Score one predicted label image.

    Args:
        truth: integers or booleans (H, W), 0 background, labels need not be consecutive.
        prediction: likewise, of the same shape.

    Returns:
        Counts for every score, a few hundred bytes; they pickle, and `counts.pool` sums them.

    Raises:
        ValueError: the shapes differ, the values are no whole numbers, or a label is negative.
    """
    return score_table(overlap_table(truth, prediction), truth, prediction)


def score_table(table: OverlapTable, truth: np.ndarray, prediction: np.ndarray) -> ImageScores:
    """Score one predicted label image whose overlap table is there already; see `score_image`."""
    return ImageScores(
        image_pixels=int(np.size(truth)),
        objects=object_counts(table),
        pixels=pixel_counts(table),
        aji=aji_counts(table),
        panoptic=panoptic_counts(table),
        seed_protocol=seed_protocol_counts(truth, prediction),
        splits_merges=split_merge_counts(table),
        sizes=size_counts(table),
        outlines=outline_counts(table),
    )


def _by_threshold(name: str, value: Callable[[ObjectCounts, int], float]) -> dict[str, Callable[[ImageScores], float]]:
    """One column a threshold, such as "object F1@0.50"."""

    def column(index: int) -> Callable[[ImageScores], float]:
        return lambda scores: value(scores.objects, index)

    return {f"{name}@{threshold:.2f}": column(index) for index, threshold in enumerate(IOU_THRESHOLDS)}


INSTANCE_SCORES: dict[str, Callable[[ImageScores], float]] = {
    "DSB score": lambda scores: scores.objects.dsb_score,
    **_by_threshold("object F1", ObjectCounts.f1_at),
    "pixel Dice": lambda scores: scores.pixels.dice,
    "AJI": lambda scores: scores.aji.aji,
    "PQ": lambda scores: scores.panoptic.pq,
    "SQ": lambda scores: scores.panoptic.sq,
    "RQ": lambda scores: scores.panoptic.rq,
}
SEED_PROTOCOL_SCORES: dict[str, Callable[[ImageScores], float]] = {
    "seed protocol DSB score": lambda scores: scores.seed_protocol.dsb_score,
    "seed protocol object F1@0.70": lambda scores: scores.seed_protocol.f1_at_70,
    "seed protocol pixel Dice": lambda scores: scores.seed_protocol.pixel_dice,
}
SCORES = INSTANCE_SCORES | SEED_PROTOCOL_SCORES
"""Every score by the name under which it is printed and written."""

COUNTS: dict[str, Callable[[ImageScores], float]] = {
    "image pixels": lambda scores: scores.image_pixels,
    "true nuclei": lambda scores: scores.objects.truths,
    "predicted nuclei": lambda scores: scores.objects.predictions,
    "splits": lambda scores: scores.splits_merges.splits,
    "merges": lambda scores: scores.splits_merges.merges,
    **_by_threshold("true positives", lambda objects, index: objects.true_positives[index]),
    **_by_threshold("false positives", lambda objects, index: objects.predictions - objects.true_positives[index]),
    **_by_threshold("false negatives", lambda objects, index: objects.truths - objects.true_positives[index]),
}
"""Every count that is written beside the scores."""
