"""Exponential moving average of the weights, kept in checkpoints and used for evaluation."""

from __future__ import annotations

import torch
from detectron2.engine import HookBase
from torch import nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]
WARM_UP = 10  # averaging starts fast and slows down: after n steps the decay is at most (1 + n) / (WARM_UP + n)


def build_ema(model: nn.Module, decay: float) -> AveragedModel:
    """Average of a model's weights and buffers.

    The decay grows to `decay` as training goes on, so that short runs are not held back by the initial weights
    (the rule of TensorFlow's ExponentialMovingAverage with `num_updates`).

    Args:
        model: the model being trained.
        decay: share of the old average kept at each step, in (0, 1).
    """

    @torch.no_grad()
    def average(averages: Tensors, current: Tensors, steps: torch.Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(steps)) / (WARM_UP + int(steps)))
        floating = [(a, c) for a, c in zip(averages, current, strict=True) if a.is_floating_point()]
        if floating:
            torch._foreach_lerp_([a for a, _ in floating], [c for _, c in floating], weight)
        for a, c in zip(averages, current, strict=True):
            if not a.is_floating_point():
                a.copy_(c)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)


class EmaHook(HookBase):
    """Update the average after every step."""

    def __init__(self, ema: AveragedModel, model: nn.Module) -> None:
        self.ema = ema
        self.model = model

    def after_step(self) -> None:
        """Take the new weights into the average."""
        self.ema.update_parameters(self.model)
