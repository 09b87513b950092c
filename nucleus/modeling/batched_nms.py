"""Non-maximum suppression of several sets of boxes, with the result of the greedy algorithm."""

from __future__ import annotations

import torch
from torchvision.ops import nms

from nucleus.modeling.anchor_matching import paired_iou

PAIRS = 1 << 25  # of boxes compared at once on a GPU, 128 MiB a float32 matrix


def keep_best(boxes: torch.Tensor, valid: torch.Tensor, threshold: float) -> torch.Tensor:
    """Which boxes no better kept box of their set overlaps with an IoU above the threshold.

    Args:
        boxes: float32 (N, K, 4), XYXY in pixels, the best first.
        valid: bool (N, K); others neither stay nor suppress.
        threshold: of the IoU.

    Returns:
        bool (N, K).
    """
    if boxes.device.type == "cpu":
        return _one_by_one(boxes, valid, threshold)
    sets = max(1, PAIRS // max(1, boxes.shape[1]) ** 2)
    parts = zip(boxes.split(sets), valid.split(sets), strict=True)
    return torch.cat([keep_best_by_matrix(*part, threshold) for part in parts])


def _one_by_one(boxes: torch.Tensor, valid: torch.Tensor, threshold: float) -> torch.Tensor:
    keep = torch.zeros_like(valid)
    for own, ok, kept in zip(boxes, valid, keep, strict=True):
        which = ok.nonzero()[:, 0]
        own = own[which]
        kept[which[nms(own, -torch.arange(len(own), dtype=own.dtype), threshold)]] = True
    return keep


def keep_best_by_matrix(boxes: torch.Tensor, valid: torch.Tensor, threshold: float) -> torch.Tensor:
    """The same by matrices, for a GPU.

    On a CPU torchvision's loop, which looks no more at dropped boxes, is as fast on usual proposals, and far faster
    where an untrained network piles them up.

    All boxes are kept at first, then those that a kept better one overlaps are dropped, and again with what is kept
    now, until nothing changes (Cluster-NMS of Zheng et al. 2021, "Enhancing Geometric Factors in Model Learning and
    Inference for Object Detection and Instance Segmentation"). The number of rounds is that of the longest chain of
    boxes in which each drops the next; the host waits for the device once a round.
    """
    above = (paired_iou(boxes[:, :, None], boxes[:, None]) > threshold).triu_(1)
    keep = valid
    while True:
        now = valid & ~(above & keep[:, :, None]).any(dim=1)
        if torch.equal(now, keep):
            return now
        keep = now
