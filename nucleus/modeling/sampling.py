"""Random samples of positives and negatives for all images at once, without waiting for the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sample:
    """What was drawn from N images: in each row first the positives, then the negatives.

    Attributes:
        index: int64 (N, S), positions in the row that was drawn from.
        valid: bool (N, S), False where there was nothing left to draw.
        positives: the first so many columns are those of positives.
    """

    index: torch.Tensor
    valid: torch.Tensor
    positives: int


def random_order(like: torch.Tensor) -> torch.Tensor:
    """Random numbers that decide who is drawn: the lowest. Float32, of the same shape and on the same device."""
    return torch.rand(like.shape, device=like.device)


def draw(positive: torch.Tensor, negative: torch.Tensor, size: int, positive_fraction: float) -> Sample:
    """Draw from each row without replacement, as `detectron2.modeling.sampling.subsample_labels` does from one.

    At most `positive_fraction` of the sample are positives; negatives fill it up as far as they go. Every subset of the
    right size is equally likely.

    Args:
        positive, negative: bool (N, A).
        size: of the sample of a row.
        positive_fraction: in [0, 1].
    """
    order = random_order(positive)
    most = min(int(size * positive_fraction), positive.shape[1])
    value, chosen = order.masked_fill(~positive, torch.inf).topk(most, dim=1, largest=False)
    is_positive = value < torch.inf
    left = size - is_positive.sum(dim=1, keepdim=True)
    others = min(size, negative.shape[1])
    value, rest = order.masked_fill_(~negative, torch.inf).topk(others, dim=1, largest=False)
    is_negative = (value < torch.inf) & (torch.arange(others, device=left.device) < left)
    return Sample(torch.cat([chosen, rest], dim=1), torch.cat([is_positive, is_negative], dim=1), most)


def places(
    positives: Sequence[int], negatives: Sequence[int], columns: int, width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the valid ones are in the flattened sample of N rows, positives in the first columns; and their rows."""
    parts = []
    for row, (some, others) in enumerate(zip(positives, negatives, strict=True)):
        first = row * width
        parts += [torch.arange(first, first + some), torch.arange(first + columns, first + columns + others)]
    place = torch.cat(parts).to(device, non_blocking=True)
    return place, torch.div(place, width, rounding_mode="floor")
