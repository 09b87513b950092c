"""The box of a nucleus as the mean of all regions that lie like it: box voting.

Non-maximum suppression keeps the best scored of the many boxes that the box branch puts around a nucleus, and throws
the others away. Here they vote: the kept box moves to the mean of all that overlap it, weighted by score, and the mask
is then made for that box (bounding box voting of Gidaris & Komodakis 2015, "Object detection via a multi-region and
semantic segmentation-aware CNN model").
"""

from __future__ import annotations

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou


def vote(found: Instances, boxes: torch.Tensor, scores: torch.Tensor, iou: float, score_threshold: float) -> None:
    """Move the boxes of the detections of one image to where all regions together put them.

    Args:
        found: N detections that suppression kept, with pred_boxes (XYXY, pixels) and pred_classes; the boxes change.
        boxes: float (R, 4) or (R, 4 * K), what each of R regions says, for all classes or for each of K.
        scores: float (R, K + 1), probabilities of the classes and, last, of background.
        iou: a region votes on detections of its class that it overlaps by this or more, in (0, 1].
        score_threshold: regions with this score or less have no vote.
    """
    kept = found.pred_boxes.tensor
    for label in range(scores.shape[1] - 1):
        own = found.pred_classes == label
        votes = boxes.view(len(boxes), boxes.shape[1] // 4, 4)[:, label if boxes.shape[1] > 4 else 0]
        weights = scores[:, label]
        usable = (weights > score_threshold) & torch.isfinite(votes).all(dim=1)
        votes, weights = Boxes(votes[usable]), weights[usable]
        votes.clip(found.image_size)
        overlaps = pairwise_iou(Boxes(kept[own]), votes)
        shares = torch.where(overlaps >= iou, weights, 0)
        total = shares.sum(dim=1, keepdim=True)
        kept[own] = torch.where(total > 0, shares @ votes.tensor / total, kept[own])
