"""Boxes as deltas of other boxes and back: Detectron2's Box2BoxTransform for any leading shape, without its waits."""

from __future__ import annotations

import torch
from detectron2.modeling.box_regression import Box2BoxTransform


def encode(transform: Box2BoxTransform, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Deltas (..., 4) that turn source boxes (..., 4), XYXY, into target boxes; Girshick et al. 2014, appendix C."""
    size, target_size = source[..., 2:] - source[..., :2], target[..., 2:] - target[..., :2]
    centre, target_centre = source[..., :2] + 0.5 * size, target[..., :2] + 0.5 * target_size
    x, y, width, height = transform.weights
    shift = source.new_tensor((x, y)) * (target_centre - centre) / size
    scale = source.new_tensor((width, height)) * torch.log(target_size / size)
    return torch.cat([shift, scale], dim=-1)


def decode(transform: Box2BoxTransform, deltas: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Boxes (..., 4), XYXY float32, of deltas (..., 4) and the source boxes (..., 4)."""
    flat = transform.apply_deltas(deltas.reshape(-1, 4), source.reshape(-1, 4))
    return flat.view(deltas.shape)
