"""Non-maximum suppression of several sets of boxes at once, by the pairs that can overlap enough.

The usual algorithm compares each box with all after it: 2 million pairs for 2,000 proposals of a level. The IoU of two
boxes is at most that of their sides along x, which is at most 1 - d / w where the left edges are d apart and the box
with the smaller one is w wide. Sorted by their left edges, a box can suppress (or be suppressed by) only those that
begin within (1 - threshold) w of it, and as close along y: a few.
"""

from __future__ import annotations

import torch

from nucleus.modeling.anchor_matching import paired_iou

SLACK = 1e-4  # of a pixel and of a width, for the rounding of IoUs


def keep_best(boxes: torch.Tensor, group: torch.Tensor, valid: torch.Tensor, threshold: float) -> torch.Tensor:
    """Which boxes no better kept box of their set overlaps with an IoU above the threshold.

    The result is that of the greedy algorithm: all boxes are kept at first, then those that a kept better one overlaps
    are dropped, and again with what is kept now, until nothing changes (Zheng et al. 2021, "Enhancing Geometric Factors
    in Model Learning and Inference for Object Detection and Instance Segmentation", Cluster-NMS). That takes as many
    rounds as the longest chain of boxes in which each drops the next. On a GPU the host waits once for the number of
    pairs and once a round.

    Args:
        boxes: float32 (B, 4), XYXY in pixels, 0 or more; of each set the better ones come first.
        group: int64 (B,), number of the set, 0 or more.
        valid: bool (B,); others neither stay nor suppress.
        threshold: of the IoU, in [0, 1].

    Returns:
        bool (B,).
    """
    if not len(boxes):
        return valid
    better, worse = _close_pairs(torch.where(valid[:, None], boxes, 0), group, threshold)
    above = (paired_iou(boxes[better], boxes[worse]) > threshold) & valid[better] & valid[worse]
    better, worse = better[above], worse[above]
    keep = valid
    while True:
        dropped = torch.zeros_like(keep, dtype=torch.int8)
        dropped.scatter_reduce_(0, worse, keep[better].to(torch.int8), "amax")
        now = valid & (dropped == 0)
        if torch.equal(now, keep):
            return now
        keep = now


def _close_pairs(boxes: torch.Tensor, group: torch.Tensor, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of one set whose left and upper edges are close enough, int64 (K,) each: the better box, and the other."""
    reach = (boxes[:, 2:] - boxes[:, :2]) * (1 - threshold + SLACK) + SLACK
    left, reach_right = boxes[:, 0].double(), reach[:, 0].double()
    place = left + group * ((left + reach_right).amax() + 1)  # sets do not reach into each other
    place, order = place.sort()
    end = torch.searchsorted(place, place + reach_right[order], right=True)
    number = torch.arange(len(place), device=boxes.device)
    count = (end - number - 1).clamp(min=0)
    first = torch.repeat_interleave(number, count)
    before = count.cumsum(0) - count - number - 1
    second = torch.arange(len(first), device=boxes.device) - before[first]
    top, reach_down = boxes[order, 1], reach[order, 1]
    close = (top[second] - top[first]).abs_() <= torch.maximum(reach_down[first], reach_down[second])
    pair = order[first[close]], order[second[close]]
    return torch.minimum(*pair), torch.maximum(*pair)
