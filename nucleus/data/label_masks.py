"""The masks of one image as one label image, in the place of Detectron2's N masks of the whole image."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from detectron2.structures import BitMasks, Boxes

# Boxes are sampled in groups with longest sides up to these, in bins of the target (pixels / mask size): a group shares
# the size of its windows, so that finer steps waste less and coarser ones start fewer operations.
GROUPS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
WINDOW_PIXELS = 1 << 22  # of all windows that are in memory at once


class LabelMasks:
    """Ground truth masks that do not overlap, as `Instances.gt_masks`.

    It does what Detectron2 asks of `BitMasks` during training. Indexing chooses ids and leaves the label image as it
    is: 256 sampled proposals of an image of 512 x 512 pixels take 2 KiB more, where BitMasks copies 64 MiB.

    Args:
        labels: int32 or int16 (H, W), 0 background; labels that are in no mask may be there.
        ids: integers (N,), the label of each mask, on the same device; an id may come more than once. By default all
            labels of the image, ascending.
    """

    def __init__(self, labels: torch.Tensor, ids: torch.Tensor | None = None) -> None:
        if labels.dim() != 2 or labels.dtype not in (torch.int16, torch.int32):
            raise ValueError(
                f"expected labels of shape (H, W), int16 or int32, got {tuple(labels.shape)} {labels.dtype}"
            )
        if ids is None:
            ids = labels.unique()
            ids = ids[ids != 0]
        if ids.dim() != 1:
            raise ValueError(f"expected ids of shape (N,), got {tuple(ids.shape)}")
        self.labels = labels
        self.ids = ids.to(labels.dtype)

    @property
    def image_size(self) -> torch.Size:
        """(H, W) in pixels."""
        return self.labels.shape

    @property
    def device(self) -> torch.device:
        """Where the label image is."""
        return self.labels.device

    @property
    def tensor(self) -> torch.Tensor:
        """The masks as BitMasks has them, bool (N, H, W): made anew each time. For pictures and tests."""
        return self.labels == self.ids[:, None, None]

    def to(self, *args: Any, **kwargs: Any) -> LabelMasks:
        """The same on another device; arguments as of `torch.Tensor.to`, without a dtype."""
        return LabelMasks(self.labels.to(*args, **kwargs), self.ids.to(*args, **kwargs))

    def pin_memory(self) -> LabelMasks:
        """The same in memory that a GPU can read by itself."""
        return LabelMasks(self.labels.pin_memory(), self.ids.pin_memory())

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """One bool (H, W) after the other, as BitMasks gives them."""
        for label in self.ids:
            yield self.labels == label

    def __getitem__(self, item: int | slice | torch.Tensor) -> LabelMasks:
        """Some of the masks, on the same label image.

        Args:
            item: an index, a slice, bool (N,) or integers (M,) in [-N, N).
        """
        if isinstance(item, int):
            return LabelMasks(self.labels, self.ids[item].unsqueeze(0))
        return LabelMasks(self.labels, self.ids[item])

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return f"{type(self).__name__}(num_instances={len(self)}, image_size=({height}, {width}))"

    @staticmethod
    def cat(parts: Sequence[LabelMasks]) -> LabelMasks:
        """One after the other, all of one and the same label image.

        Raises:
            ValueError: the parts have different label images; `to_bit_masks` makes what can be joined.
        """
        first = parts[0].labels
        for part in parts[1:]:
            if part.labels is not first and not torch.equal(part.labels, first):
                raise ValueError("expected parts of one label image, got several")
        return LabelMasks(first, torch.cat([part.ids for part in parts]))

    def to_bit_masks(self) -> BitMasks:
        """The same as Detectron2's N x H x W masks."""
        return BitMasks(self.tensor)

    def nonempty(self) -> torch.Tensor:
        """Which masks have a pixel: bool (N,)."""
        if not len(self):
            return self.ids > 0
        areas = torch.bincount(self.labels.flatten(), minlength=int(self.ids.max()) + 1)
        return areas[self.ids.long()] > 0

    def get_bounding_boxes(self) -> Boxes:
        """Tight boxes, XYXY outer edges in pixels, float32 on the CPU as BitMasks gives them; zeros if empty."""
        labels, ids = self.labels.cpu().long(), self.ids.cpu().long()
        rows, columns = labels.nonzero(as_tuple=True)
        owners = labels[rows, columns]
        count = int(torch.cat([owners, ids, ids.new_zeros(1)]).max()) + 1
        edges = [
            torch.zeros(count, dtype=torch.int64).scatter_reduce_(0, owners, values, how, include_self=False)
            for values, how in ((columns, "amin"), (rows, "amin"), (columns + 1, "amax"), (rows + 1, "amax"))
        ]
        return Boxes(torch.stack(edges, dim=1)[ids].float())

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """Sample each mask inside its box, as `BitMasks.crop_and_resize` does.

        Args:
            boxes: (N, 4), XYXY in pixels, one for each mask.
            mask_size: side M of the targets in pixels.

        Returns:
            bool (N, M, M), on the device of the label image. Where the sampled value is within rounding of the
            threshold 0.5, the answer may differ from that of BitMasks.
        """
        return crop_and_resize([self], [boxes], mask_size)


@torch.no_grad()
def crop_and_resize(
    masks: Sequence[LabelMasks | BitMasks], boxes: Sequence[torch.Tensor], mask_size: int
) -> torch.Tensor:
    """Sample the masks of several images inside their boxes, all images together.

    Mathematically this is ROIAlign (He et al. 2017, "Mask R-CNN", section 3; aligned, with as many samples a bin as it
    has pixels, rounded up) on each mask as 0 and 1, compared with 0.5. ROIAlign's samples are a grid, and bilinear
    weights are products of a weight for x and one for y. The means over the bins are therefore A M B' with the window M
    of the mask around the box and one sparse matrix for each axis. Only M depends on the mask: it is cut from the label
    image and compared with the id.

    Args:
        masks: of each image, N_i of them, at least one image. Where BitMasks are among them, each image is sampled by
            itself.
        boxes: of each image, (N_i, 4), XYXY in pixels.
        mask_size: side M of the targets in pixels.

    Returns:
        bool (N_1 + N_2 + ..., M, M). The host waits for the device once, for the sizes of the boxes.
    """
    for one, its_boxes in zip(masks, boxes, strict=True):
        if its_boxes.shape != (len(one), 4):
            raise ValueError(f"expected boxes of shape ({len(one)}, 4), got {tuple(its_boxes.shape)}")
    labelled = [one for one in masks if isinstance(one, LabelMasks)]
    if len(labelled) < len(masks):
        return torch.cat([one.crop_and_resize(its, mask_size) for one, its in zip(masks, boxes, strict=True)])
    device = labelled[0].device
    stack, limits = _stack([one.labels for one in labelled])
    image = torch.repeat_interleave(
        torch.arange(len(masks)), torch.tensor([len(one) for one in masks]), output_size=sum(map(len, masks))
    ).to(device, non_blocking=True)
    ids = torch.cat([one.ids for one in labelled])
    corners = torch.cat(list(boxes)).to(device=device, dtype=torch.float32)
    targets = torch.zeros(len(ids), mask_size, mask_size, dtype=torch.bool, device=device)
    with torch.autocast(device.type, enabled=False):  # bfloat16 would move the threshold by a hundredth
        for chosen, side in _groups(corners, mask_size):
            chosen = chosen.to(device, non_blocking=True)
            at = image[chosen]
            targets[chosen] = _sample(stack, limits[at], at, ids[chosen], corners[chosen], mask_size, side)
    return targets


def _stack(labels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Label images as (K, H, W), and the size (height, width) of each: float (K, 2)."""
    sizes = torch.tensor([list(one.shape) for one in labels], dtype=torch.float32)
    if len(labels) == 1:
        stack = labels[0][None]
    else:
        height, width = (max(sides) for sides in zip(*(one.shape for one in labels), strict=True))
        widest = functools.reduce(torch.promote_types, (one.dtype for one in labels))
        stack = labels[0].new_zeros(len(labels), height, width, dtype=widest)
        for one, place in zip(labels, stack, strict=True):
            place[: one.shape[0], : one.shape[1]] = one
    return stack, sizes.to(stack.device, non_blocking=True)


def _groups(boxes: torch.Tensor, mask_size: int) -> Iterator[tuple[torch.Tensor, float]]:
    """Boxes of like size together: their indices and the longest side in pixels, so that their windows fit memory."""
    sides = ((boxes[:, 2:] - 0.5) - (boxes[:, :2] - 0.5)).amax(dim=1).cpu()  # as ROIAlign rounds them
    group = torch.bucketize(sides / mask_size, torch.tensor(GROUPS))
    for index in group.unique().tolist():
        members = (group == index).nonzero()[:, 0]
        longest = max(float(sides[members].max()), 0.0)
        for part in members.split(max(1, WINDOW_PIXELS // (int(longest) + 3) ** 2)):
            yield part, longest


def _sample(
    stack: torch.Tensor,
    limits: torch.Tensor,
    image: torch.Tensor,
    ids: torch.Tensor,
    boxes: torch.Tensor,
    mask_size: int,
    longest: float,
) -> torch.Tensor:
    """bool (N, M, M) of boxes with sides up to `longest` pixels."""
    height, width = (min(int(longest) + 3, side) for side in stack.shape[1:])  # of the windows
    left, across = _axis(boxes[:, 0], boxes[:, 2], limits[:, 1], stack.shape[2] - width, width, mask_size, longest)
    top, down = _axis(boxes[:, 1], boxes[:, 3], limits[:, 0], stack.shape[1] - height, height, mask_size, longest)
    windows = stack.unfold(1, height, 1).unfold(2, width, 1)[image, top, left]
    inside = (windows == ids[:, None, None]).to(across.dtype)
    return torch.bmm(torch.bmm(down, inside), across.transpose(1, 2)) >= 0.5


def _axis(
    low: torch.Tensor,
    high: torch.Tensor,
    limit: torch.Tensor,
    last: int,
    window: int,
    mask_size: int,
    longest: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the windows begin along one axis, and what each of their pixels counts in each bin.

    Args:
        low, high: edges of the boxes in pixels, (N,).
        limit: pixels of the image, (N,).
        last: largest start of a window that lies within the stack.
        window: its length W in pixels.
        mask_size: bins M.
        longest: of the boxes of the group, in pixels.

    Returns:
        Starts, int64 (N,), and weights (N, M, W): the mean over the samples of a bin of their bilinear weights.
    """
    low, high = low - 0.5, high - 0.5  # to where pixel centres are whole numbers
    step = (high - low) / mask_size
    samples = step.ceil()  # of a bin; those of the group with the largest boxes are drawn, and the surplus not counted
    most = max(1, -int(-longest // mask_size))
    bins = torch.arange(mask_size, device=low.device)[:, None]
    sample = torch.arange(most, device=low.device)
    position = low[:, None, None] + bins * step[:, None, None]
    position = position + (sample + 0.5) * (step / samples.clamp(min=1))[:, None, None]
    # As ROIAlign: a sample more than a pixel outside is 0, one less far takes the pixel at the border.
    counts = (sample < samples[:, None, None]) & (position >= -1) & (position <= limit[:, None, None])
    share = torch.where(counts, 1 / samples.clamp(min=1)[:, None, None], 0.0)
    start = low.floor().clamp(0, last)
    position = torch.minimum(position.clamp(min=0), (limit - 1)[:, None, None]) - start[:, None, None]
    pixels = torch.arange(window, device=low.device, dtype=low.dtype)
    weights = low.new_zeros(len(low), mask_size, window)
    for number in range(most):
        near = 1 - (position[:, :, number, None] - pixels).abs_()
        weights.addcmul_(near.clamp_(min=0), share[:, :, number, None])
    return start.long(), weights
