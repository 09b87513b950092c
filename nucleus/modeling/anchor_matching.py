"""Anchors matched with ground truth boxes by looking only at the pairs that overlap.

Detectron2 computes the IoU of every box of an image with every anchor: 300 nuclei and the 65,472 anchors of a crop of
512 x 512 pixels are 20 million pairs, of which 1 in 100 overlaps. Anchors stand on grids, so that the grid points whose
anchors can touch a box are known from the box alone. Everything else has an IoU of 0 and is decided without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator

Thresholds = Sequence[float]


@dataclass(frozen=True)
class AnchorGrids:
    """Where the anchors of one shape on one level stand; a row for each of the P pairs of level and shape.

    Attributes:
        shape: float (P, 4), the anchor at the origin, XYXY in pixels.
        stride: float (P,), pixels between neighbouring grid points.
        size: int64 (P, 2), columns and rows of the grid.
        first: int64 (P,), number of the anchor at the first grid point, in the order of Detectron2's anchor generator.
        step: int64 (P,), from the number of an anchor to that of its right neighbour.
        offset: of the first grid point from the image's corner, in strides.
    """

    shape: torch.Tensor
    stride: torch.Tensor
    size: torch.Tensor
    first: torch.Tensor
    step: torch.Tensor
    offset: float


def anchor_grids(generator: DefaultAnchorGenerator, maps: Sequence[tuple[int, int]]) -> AnchorGrids:
    """The grids on which a generator puts its anchors.

    Args:
        generator: of Detectron2.
        maps: height and width of each feature map.
    """
    cells = list(generator.cell_anchors)
    device = cells[0].device
    rows: list[tuple[int, ...]] = []
    first = 0
    for (height, width), cell, stride in zip(maps, cells, generator.strides, strict=True):
        rows += [(stride, width, height, first + number, len(cell)) for number in range(len(cell))]
        first += height * width * len(cell)
    numbers = torch.tensor(rows)
    return AnchorGrids(
        torch.cat(cells),
        numbers[:, 0].float().to(device),
        numbers[:, 1:3].to(device),
        numbers[:, 3].to(device),
        numbers[:, 4].to(device),
        generator.offset,
    )


def overlapping_pairs(boxes: torch.Tensor, grids: AnchorGrids) -> tuple[torch.Tensor, torch.Tensor]:
    """All pairs of a box and an anchor that overlap, and a few beside them that do not.

    Args:
        boxes: (G, 4), XYXY in pixels.
        grids: of the anchors.

    Returns:
        Index of the box and number of the anchor, int64 (K,) each, sorted by box. The host waits for the device once,
        for K.
    """
    low = (boxes[:, None, :2] - grids.shape[:, 2:]) / grids.stride[:, None] - grids.offset
    high = (boxes[:, None, 2:] - grids.shape[:, :2]) / grids.stride[:, None] - grids.offset
    start = low.floor().long().clamp(min=0)
    count = (torch.minimum(high.ceil().long(), grids.size - 1) - start + 1).clamp(min=0)  # (G, P, 2): columns and rows
    pairs = count.prod(dim=2)
    window = torch.repeat_interleave(torch.arange(pairs.numel(), device=boxes.device), pairs.flatten())
    before = pairs.flatten().cumsum(0) - pairs.flatten()
    number = torch.arange(len(window), device=boxes.device) - before[window]
    columns = count[..., 0].flatten()[window]
    box = torch.div(window, len(grids.stride), rounding_mode="floor")
    grid = window - box * len(grids.stride)
    row = torch.div(number, columns, rounding_mode="floor")
    at_row = start[..., 1].flatten()[window] + row
    at_column = start[..., 0].flatten()[window] + number - row * columns
    return box, grids.first[grid] + (at_row * grids.size[grid, 0] + at_column) * grids.step[grid]


def paired_iou(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """IoU of boxes (..., 4) with others (..., 4), XYXY, rounded as `detectron2.structures.pairwise_iou` rounds it."""
    edges = torch.minimum(boxes[..., 2:], others[..., 2:]) - torch.maximum(boxes[..., :2], others[..., :2])
    inside = edges.clamp_(min=0).prod(dim=-1)
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    other_area = (others[..., 2] - others[..., 0]) * (others[..., 3] - others[..., 1])
    return torch.where(inside > 0, inside / (area + other_area - inside), inside.new_zeros(()))


def labels_of_iou(iou: torch.Tensor, thresholds: Thresholds, labels: Sequence[int]) -> torch.Tensor:
    """Labels by best IoU, as Detectron2's Matcher gives them.

    Args:
        iou: of any shape.
        thresholds: T + 1 of them, ascending, from -inf to inf; interval t holds what is at least thresholds[t].
        labels: of the T intervals.
    """
    found = torch.full_like(iou, labels[-1], dtype=torch.int8)
    for label, upper in list(zip(labels, thresholds[1:], strict=True))[-2::-1]:
        found = found.masked_fill_(iou < upper, label)
    return found


def match_anchors(
    boxes: Sequence[torch.Tensor],
    anchors: torch.Tensor,
    grids: AnchorGrids,
    thresholds: Thresholds,
    labels: Sequence[int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Label the anchors of several images; Ren et al. 2015, "Faster R-CNN", section 3.1.2.

    An anchor is labelled by its best IoU with a box, or 1 where it is the best anchor of a box (ties included). As in
    Detectron2 a box that overlaps no anchor is equally near to all and makes all of them positive.

    Args:
        boxes: of each of N images, (G_n, 4), XYXY in pixels.
        anchors: (A, 4), the same for all images.
        grids: where they stand.
        thresholds, labels: see `labels_of_iou`.

    Returns:
        Labels, int8 (N, A), and the index of the matched box in its image, int64 (N, A); 0 where there is none.
    """
    count = len(anchors)
    found = anchors.new_zeros(len(boxes) * count)
    matched = torch.zeros(len(found), dtype=torch.int64, device=anchors.device)
    sizes = [len(one) for one in boxes]
    if not sum(sizes):
        return labels_of_iou(found, thresholds, labels).view(-1, count), matched.view(-1, count)
    image = _repeated(range(len(boxes)), sizes, anchors.device)
    within = torch.cat([torch.arange(size, device=anchors.device) for size in sizes])
    every = torch.cat(list(boxes))

    box, anchor = overlapping_pairs(every, grids)
    iou = paired_iou(every[box], anchors[anchor])
    place = image[box] * count + anchor
    found.scatter_reduce_(0, place, iou, "amax")
    best = (iou == found[place]) & (iou > 0)  # the first box where several are equally near
    none = matched.new_tensor(max(sizes))
    first = matched.new_full(matched.shape, max(sizes))
    first.scatter_reduce_(0, place, torch.where(best, within[box], none), "amin")
    matched = torch.where(found > 0, first, matched)

    result = labels_of_iou(found, thresholds, labels)
    best_of_box = iou.new_zeros(len(every)).scatter_reduce_(0, box, iou, "amax")
    is_best = (iou == best_of_box[box]) & (iou > 0)
    result.scatter_reduce_(0, place, torch.where(is_best, 1, -1).to(torch.int8), "amax")
    alone = torch.zeros(len(boxes), dtype=torch.int8, device=anchors.device)
    alone.scatter_reduce_(0, image, (best_of_box == 0).to(torch.int8), "amax")
    result = torch.where(alone[:, None] > 0, 1, result.view(-1, count)).to(torch.int8)
    return result, matched.view(-1, count)


def _repeated(values: Sequence[int], times: Sequence[int], device: torch.device) -> torch.Tensor:
    """Each value as often as asked for; made on the host, which knows the length."""
    repeated = torch.repeat_interleave(torch.tensor(list(values)), torch.tensor(list(times)), output_size=sum(times))
    return repeated.to(device, non_blocking=True)
