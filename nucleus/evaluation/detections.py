"""What is kept of the detections of one image: run lengths and numbers, so that memory does not grow with pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleus.evaluation.threshold import RankedNuclei, rank_nuclei
from nucleus.formats.coco import NUCLEUS
from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.overlap import overlap_table
from nucleus.masks.resolve_overlaps import MIN_KEPT, label_image_from_box_masks


@dataclass(frozen=True)
class KeptDetections:
    """The detections of one image as COCO results, and what the curve over score thresholds needs of them."""

    results: list[dict[str, Any]]
    ranked: RankedNuclei


def keep_detections(
    image_id: int,
    truth: np.ndarray,
    masks: BoxMasks,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    min_kept: float = MIN_KEPT,
) -> KeptDetections:
    """Reduce the detections of one image.

    Args:
        image_id: of the image in the COCO file.
        truth: integers (H, W), 0 background.
        masks: N masks of H x W pixels.
        boxes: float64 (N, 4), XYXY in pixels.
        scores: float64 (N,).
        min_kept: see `nucleus.masks.resolve_overlaps`.
    """
    drawn, kept, _ = label_image_from_box_masks(masks, scores, min_kept=min_kept)
    results = [
        {
            "image_id": image_id,
            "category_id": NUCLEUS["id"],
            "bbox": [left, top, right - left, bottom - top],
            "score": score,
            "segmentation": rle,
        }
        for (left, top, right, bottom), score, rle in zip(boxes.tolist(), scores.tolist(), masks.encode(), strict=True)
    ]
    return KeptDetections(results, rank_nuclei(overlap_table(truth, drawn), scores[kept]))
