"""ROIAlign on a CPU as a sparse matrix.

torchvision's ROIAlign on a CPU works on one channel after the other and in one thread; its backward pass is the slowest
single part of a training step. What it computes is linear in the features: each bin is a weighted sum of a few pixels,
with the same weights for all channels. With the channels of a pixel side by side, that is a sum of weighted rows, which
`embedding_bag` computes at the speed of memory, and the gradient is the same with the matrix transposed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels, convert_boxes_to_pooler_format
from detectron2.structures import Boxes
from torch import nn
from torch.nn import functional as F


class SparseROIPooler(ROIPooler):
    """Detectron2's ROIPooler with SparseROIAlign in the place of ROIAlign, and one wait for the device.

    It has no parameters.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.level_poolers: Any = nn.ModuleList(
            SparseROIAlign(one.output_size, one.spatial_scale, one.sampling_ratio, one.aligned)
            if isinstance(one, ROIAlign)
            else one
            for one in self.level_poolers
        )

    def forward(self, x: list[torch.Tensor], box_lists: list[Boxes]) -> torch.Tensor:
        """See ROIPooler."""
        return self.pool(x, convert_boxes_to_pooler_format(box_lists))

    def pool(self, features: Sequence[torch.Tensor], rois: torch.Tensor) -> torch.Tensor:
        """Pool regions of all images, each from the level that fits its size.

        Args:
            features: of each level, (N, C, H, W).
            rois: float32 (R, 5): number of the image, and the box XYXY in pixels of the image.

        Returns:
            (R, C, P, P).
        """
        if len(self.level_poolers) == 1:
            return self.level_poolers[0](features[0], rois)
        levels = assign_boxes_to_levels(
            [Boxes(rois[:, 1:])], self.min_level, self.max_level, self.canonical_box_size, self.canonical_level
        )
        counts = torch.bincount(levels, minlength=len(self.level_poolers)).tolist()
        order = levels.argsort(stable=True)
        used = [level for level, count in enumerate(counts) if count] or [0]
        parts = rois[order].split(counts)
        pooled = [self.level_poolers[level](features[level], parts[level]) for level in used]
        if len(used) == 1:  # in order already
            return pooled[0]
        return torch.cat(pooled).index_select(0, order.argsort())


class SparseROIAlign(ROIAlign):
    """Detectron2's ROIAlign, on a CPU by a sparse matrix.

    Equal up to the rounding of sums, and at coordinates: under autocast Detectron2 rounds boxes to the dtype of the
    features, which for bfloat16 is a pixel at 256; here they stay float32, on every device.
    """

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """Pool regions.

        Args:
            input: features (N, C, H, W).
            rois: (R, 5): number of the image, and the box XYXY in pixels of the image.

        Returns:
            (R, C, P, P); on a CPU under autocast float32, else of the dtype of the features.
        """
        if input.device.type != "cpu":
            return super().forward(input.float(), rois).to(input.dtype)
        size = self.output_size
        size = (size, size) if isinstance(size, int) else tuple(size)
        pooled = _SparseROIAlign.apply(
            input, rois.float(), self.spatial_scale, size, self.sampling_ratio, self.aligned
        )  # fmt: skip
        return pooled if torch.is_autocast_enabled("cpu") else pooled.to(input.dtype)


class _SparseROIAlign(torch.autograd.Function):
    """Sums of weighted rows of pixels, and the transposed sums for the gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        features: torch.Tensor,
        rois: torch.Tensor,
        scale: float,
        size: tuple[int, int],
        sampling_ratio: int,
        aligned: bool,
    ) -> torch.Tensor:
        images, channels, height, width = features.shape
        rows = features.permute(0, 2, 3, 1).reshape(-1, channels).float()
        pooled = rows.new_empty(len(rois), *size, channels)
        bins = torch.arange(size[0] * size[1], dtype=torch.int32)
        saved: list[list[torch.Tensor]] = [[], [], []]
        for members, pixel, weight in taps(rois, (height, width), scale, size, sampling_ratio, aligned):
            count = pixel.shape[-1]
            own = F.embedding_bag(pixel.view(-1, count), rows, mode="sum", per_sample_weights=weight.view(-1, count))
            pooled[members] = own.view(len(members), *size, channels)
            of_bin = (members[:, None].int() * len(bins) + bins).flatten().repeat_interleave(count)
            for collected, tensor in zip(saved, (pixel.flatten(), weight.flatten(), of_bin), strict=True):
                collected.append(tensor)
        ctx.save_for_backward(*(torch.cat(one) if one else bins[:0] for one in saved))
        ctx.shape, ctx.dtype = (images, height, width, channels), features.dtype
        return pooled.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        pixel, weight, of_bin = ctx.saved_tensors
        images, height, width, channels = ctx.shape
        count = images * height * width
        if not len(pixel):
            found = gradient.new_zeros(count, channels)
        else:
            rows = gradient.permute(0, 2, 3, 1).reshape(-1, channels).float()
            pixel, order = pixel.sort()
            taps_of_pixel = torch.bincount(pixel, minlength=count)
            starts = (taps_of_pixel.cumsum(0) - taps_of_pixel).int()
            found = F.embedding_bag(of_bin[order], rows, starts, mode="sum", per_sample_weights=weight[order])
        return found.view(ctx.shape).permute(0, 3, 1, 2).to(ctx.dtype), None, None, None, None, None


def taps(
    rois: torch.Tensor,
    shape: tuple[int, int],
    scale: float,
    size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """The pixels that each bin of each region sums, and their weights: ROIAlign as a sparse matrix by rows.

    He et al. 2017, "Mask R-CNN", section 3; samples, borders and rounding of positions as in torchvision.

    Args:
        rois: float32 (R, 5): number of the image, box XYXY in pixels of the image.
        shape: height H and width W of the feature map.
        scale: pixels of the map for a pixel of the image.
        size: bins (height, width) of a region.
        sampling_ratio: samples a bin and axis; 0 for as many as it has pixels, rounded up.
        aligned: pixel centres at half coordinates.

    Yields:
        Regions with as many samples: their numbers, int64 (G,); of each bin T pixels, int32 (G, height, width, T), rows
        among the N * H * W of all pixels; and the weights of these, float32 of the same shape.
    """
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0.0)
    extents = corners[:, 2:] - corners[:, :2]
    if not aligned:
        extents = extents.clamp(min=1)
    steps = extents / torch.tensor(size[::-1])
    samples = steps.ceil() if sampling_ratio <= 0 else torch.full_like(steps, sampling_ratio)
    most = samples.amax(dim=1).clamp(min=1)
    first = rois[:, 0].int() * (shape[0] * shape[1])
    for number in most.unique().tolist():
        which = (most == number).nonzero()[:, 0]
        start, step, count = corners[which, :2], steps[which], samples[which]
        left, across = _axis(start[:, 0], step[:, 0], count[:, 0], shape[1], size[1], int(number))
        top, down = _axis(start[:, 1], step[:, 1], count[:, 1], shape[0], size[0], int(number))
        row = first[which, None, None] + top * shape[1]
        pixel = row[:, :, None, :, None] + left[:, None, :, None, :]
        weight = down[:, :, None, :, None] * across[:, None, :, None, :]
        yield which, pixel.flatten(3), weight.flatten(3)


def _axis(
    start: torch.Tensor, step: torch.Tensor, samples: torch.Tensor, limit: int, bins: int, most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and weights along one axis.

    Args:
        start: of the regions in pixels of the map, (R,).
        step: length of a bin in pixels of the map, (R,).
        samples: of a bin, (R,), up to `most`.
        limit: pixels of the map.
        bins: B of a region.
        most: samples drawn.

    Returns:
        Pixels, int32 (R, B, T), within the map, and weights (R, B, T), 0 where there is nothing to count.
    """
    samples = samples[:, None, None]
    number = torch.arange(most)
    position = (start[:, None] + torch.arange(bins) * step[:, None])[..., None]
    position = position + (number + 0.5) * step[:, None, None] / samples.clamp(min=1)
    counts = (number < samples) & (position >= -1) & (position <= limit)
    share = counts / samples.clamp(min=1)
    position = position.clamp(0, limit - 1)  # outside, the outermost pixel
    lowest = torch.where(counts, position, limit - 1).amin(dim=2, keepdim=True).floor()
    highest = torch.where(counts, position, 0).amax(dim=2, keepdim=True).ceil()
    width = int((highest - lowest).amax().clamp(min=0)) + 1
    pixel = lowest + torch.arange(width)
    weight = torch.zeros_like(pixel)
    for one in range(most):  # a sample between two pixels belongs to both, by its distance
        near = 1 - (position[:, :, one, None] - pixel).abs_()
        weight.addcmul_(near.clamp_(min=0), share[:, :, one, None])
    return pixel.clamp_(max=limit - 1).int(), weight
