"""What a model finds in one image: nuclei at a score threshold, and behind them all detections, so that the threshold
can be moved without running the network again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.nuclei import boxes_of_labels
from nucleus.masks.polygons import Polygon, trace_polygons
from nucleus.masks.resolve_overlaps import MIN_KEPT, label_image_from_box_masks


@dataclass(frozen=True, eq=False)
class Prediction:
    """The nuclei of one image of H x W pixels.

    Nuclei are numbered 1..n from the highest score down; entry i of `scores`, `boxes`, `masks` and `contours` is
    nucleus i + 1. All of them are made when they are first asked for.

    Attributes:
        detections: all N detections of the model, which may overlap.
        detection_scores: float32 (N,), in [0, 1].
        threshold: lowest score, in [0, 1], of a detection that becomes a nucleus.
        min_kept: see `nucleus.masks.resolve_overlaps`.
    """

    detections: BoxMasks
    detection_scores: np.ndarray
    threshold: float
    min_kept: float = MIN_KEPT

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        size = f"{self.detections.height} x {self.detections.width} pixels"
        return f"Prediction({len(self)} nuclei in {size}, score {self.threshold:g} or more)"

    def at(self, threshold: float) -> Prediction:
        """The nuclei at another score threshold, in milliseconds. Scores lower than the model's own limit
        (MODEL.ROI_HEADS.SCORE_THRESH_TEST) are not there."""
        return Prediction(self.detections, self.detection_scores, threshold, self.min_kept)

    @cached_property
    def _drawn(self) -> tuple[np.ndarray, np.ndarray, int]:
        return label_image_from_box_masks(
            self.detections, self.detection_scores, score_threshold=self.threshold, min_kept=self.min_kept
        )

    @property
    def label_image(self) -> np.ndarray:
        """int32 (H, W), 0 background, 1..n nuclei; a pixel belongs to the highest-scored detection that claims it."""
        return self._drawn[0]

    @property
    def dropped(self) -> int:
        """How many detections at or above the threshold became no nucleus, since better ones claim most of them."""
        return self._drawn[2]

    @property
    def kept(self) -> np.ndarray:
        """int64 (n,), the detection that each nucleus is."""
        return self._drawn[1]

    @property
    def scores(self) -> np.ndarray:
        """float32 (n,), in [0, 1], descending."""
        return self.detection_scores[self.kept]

    @cached_property
    def boxes(self) -> np.ndarray:
        """int64 (n, 4), XYXY in pixels, tight: left and top inside, right and bottom just outside."""
        return boxes_of_labels(self.label_image)[1]

    @cached_property
    def masks(self) -> BoxMasks:
        """The n nuclei as they are in the label image, none overlapping another."""
        crops = [
            self.label_image[top:bottom, left:right] == label
            for label, (left, top, right, bottom) in enumerate(self.boxes.tolist(), start=1)
        ]
        return BoxMasks(self.boxes, crops, *self.label_image.shape)

    @cached_property
    def contours(self) -> list[list[Polygon]]:
        """Outlines of each nucleus along the edges of its pixels: a polygon for each piece, as
        `nucleus.masks.polygons` describes them, x and y in pixels."""
        corners = self.boxes[:, :2].tolist()
        return [trace_polygons(crop, top, left) for crop, (left, top) in zip(self.masks.crops(), corners, strict=True)]
