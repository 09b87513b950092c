"""The loss of the mask branch, with terms for the edges of nuclei."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def mask_loss(logits: torch.Tensor, wanted: torch.Tensor, dice: float = 0.0, edge: float = 0.0) -> torch.Tensor:
    """Mean binary cross entropy (He et al. 2017, "Mask R-CNN", section 3), and what is asked for on top.

    Args:
        logits: float (N, M, M), N at least 1.
        wanted: bool (N, M, M).
        dice: weight of the soft Dice loss (Milletari et al. 2016, "V-Net", section 3), the mean over masks.
        edge: by how much more a mask pixel counts where its 3 x 3 neighbourhood is not all inside or all outside, as
            the borders of Ronneberger et al. 2015, "U-Net", section 3; the mean weight of the batch stays 1.
    """
    logits, target = logits.float(), wanted.float()
    weight = None
    if edge:
        padded = F.pad(target[:, None], (1, 1, 1, 1), mode="replicate")
        is_edge = (F.max_pool2d(padded, 3, stride=1) != -F.max_pool2d(-padded, 3, stride=1))[:, 0]
        weight = 1 + edge * is_edge.float()
        weight = weight / weight.mean()
    loss = F.binary_cross_entropy_with_logits(logits, target, weight=weight)
    if dice:
        found = logits.sigmoid()
        overlap = (found * target).sum(dim=(1, 2))
        loss = loss + dice * (1 - (2 * overlap + 1) / (found.sum(dim=(1, 2)) + target.sum(dim=(1, 2)) + 1)).mean()
    return loss
