"""Models of stock and of fast parts, and samples to train them on, for several tests here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from torch import nn

import nucleus.modeling
from nucleus.config import load_config
from nucleus.data.label_masks import LabelMasks
from nucleus.modeling import sampling

assert nucleus.modeling  # its import registers the parts

QUICK = Path(__file__).parents[2] / "configs" / "quick" / "mask_rcnn_lite0_FPN.yaml"
STOCK = {
    "MODEL.PROPOSAL_GENERATOR.NAME": "RPN",
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.FAST_CONVOLUTIONS": "False",
}
FAST = {
    "MODEL.PROPOSAL_GENERATOR.NAME": "BatchedRPN",
    "MODEL.ROI_HEADS.NAME": "BatchedROIHeads",
    "MODEL.ROI_MASK_HEAD.NAME": "MatrixMaskHead",
    "MODEL.FAST_CONVOLUTIONS": "True",
}


def quick_model(parts: dict[str, str], *overrides: str) -> nn.Module:
    """The quick model with some parts, in training mode, with random weights."""
    settings = [text for pair in parts.items() for text in pair]
    cfg = load_config(QUICK, ["MODEL.TIMM.WEIGHTS", "", *settings, *overrides])
    torch.manual_seed(0)
    return build_model(cfg).to(memory_format=torch.channels_last).train()


def target(size: tuple[int, int], boxes: list[list[float]], bit_masks: bool = False) -> Instances:
    """Ellipses in some boxes, the later ones on top, as the mapper gives them; boxes may reach over the border."""
    rows, columns = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    labels = torch.zeros(size, dtype=torch.int32)
    for number, (left, top, right, bottom) in enumerate(boxes, start=1):
        x, y = (columns - (left + right) / 2) / max(right - left, 1), (rows - (top + bottom) / 2) / max(bottom - top, 1)
        labels[x**2 + y**2 <= 0.25] = number
    masks = LabelMasks(labels, torch.arange(1, len(boxes) + 1, dtype=torch.int32))
    return Instances(
        size,
        gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        gt_classes=torch.zeros(len(boxes), dtype=torch.int64),
        gt_masks=BitMasks(masks.tensor) if bit_masks else masks,
    )


def scattered(count: int, size: tuple[int, int], seed: int, side: float = 24) -> list[list[float]]:
    """Boxes of many sides, inside an image."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    sides = (torch.randn(count, 2, generator=generator) * 0.5).exp() * side
    centre = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    low, high = (centre - sides / 2).round().clamp(min=0), (centre + sides / 2).round()
    high = torch.minimum(high, torch.tensor([width, height]))
    return torch.cat([low, torch.maximum(high, low + 1)], dim=1).tolist()


def sample(size: tuple[int, int], boxes: list[list[float]], seed: int = 0, bit_masks: bool = False) -> dict[str, Any]:
    """An image with bright nuclei and noise, and its targets."""
    instances = target(size, boxes, bit_masks)
    generator = torch.Generator().manual_seed(seed)
    labels = instances.gt_masks.tensor.any(dim=0) if len(boxes) else torch.zeros(size, dtype=torch.bool)
    image = (labels * 120 + torch.randint(0, 60, (3, *size), generator=generator)).to(torch.uint8)
    return {"image": image, "instances": instances, "file_name": f"{seed}.png"}


@contextmanager
def in_order(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both kinds draw the first of what there is to draw from, so that samples can be compared."""
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randperm", lambda count, **_: torch.arange(count))
        patch.setattr(
            sampling, "random_order", lambda like: torch.arange(like.shape[1]).expand(like.shape).float().clone()
        )
        yield
