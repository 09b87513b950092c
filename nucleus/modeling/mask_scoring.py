"""The mask scoring branch: how well each mask will fit a nucleus, as a factor of the score of its detection.

The box branch says whether there is a nucleus, not whether what was drawn of it is right. A branch of its own that sees
the features of a region and the mask in it learns the IoU of that mask with the truth (Huang et al. 2019, "Mask Scoring
R-CNN", section 3.2). There it learns from the nuclei among the sampled regions; here from detections, as they are at
test time, false ones too, whose IoU is near 0: so it takes back what the box branch was too sure of. What it brings
stands in docs/accuracy.md.
"""

from __future__ import annotations

import torch
from detectron2.structures import Instances
from torch import nn
from torch.nn import functional as F

from nucleus.data.label_masks import LabelMasks
from nucleus.masks.overlap import largest_ious
from nucleus.masks.paste import paste_masks
from nucleus.modeling.mask_regions import widened

PARAMETERS = "roi_heads.mask_scoring."  # how the names of its parameters begin
WIDTH, UNITS = 64, 256
MOST_LEARNT = 64  # detections of a training image, drawn at random


class MaskScoring(nn.Module):
    """Convolutions, the last with stride 2, and linear layers on features and mask (Huang et al. 2019, figure 3).

    Args:
        channels: C of the features.
        side: S of the features, in pixels.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, WIDTH, 3, stride, 1)
            for inputs, stride in ((channels + 1, 1), (WIDTH, 1), (WIDTH, 1), (WIDTH, 2))
        )
        sizes = (WIDTH * ((side + 1) // 2) ** 2, UNITS, UNITS)
        self.linear = nn.ModuleList(nn.Linear(inputs, UNITS) for inputs in sizes[:2])
        self.predictor = nn.Linear(UNITS, 1)
        for layer in (*self.convolutions, *self.linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.predictor.weight, std=0.01)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, features: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
        """The IoU that is expected of each mask: about [0, 1], not limited to it.

        Args:
            features: (N, C, S, S), of the regions that the masks are drawn in.
            probabilities: (N, 1, M, M), in [0, 1], of the masks.

        Returns:
            float32 (N,).
        """
        masks = F.adaptive_max_pool2d(probabilities.to(features.dtype), self.side)
        x = torch.cat([features, masks], dim=1)
        for convolution in self.convolutions:
            x = F.relu_(convolution(x))
        x = x.flatten(1)
        for linear in self.linear:
            x = F.relu_(linear(x))
        return self.predictor(x)[:, 0].float()


def true_mask_ious(found: Instances, target: Instances, margin: float) -> torch.Tensor:
    """The largest IoU of each mask of one image with a nucleus: float32 (N,), on the host.

    Args:
        found: raw detections, with pred_boxes and pred_masks, probabilities (N, 1, M, M).
        target: with gt_masks, LabelMasks.
        margin: of the masks about their boxes (`nucleus.modeling.mask_regions`).

    Raises:
        TypeError: gt_masks are others.
    """
    truth = target.gt_masks
    if not isinstance(truth, LabelMasks):
        raise TypeError(f"gt_masks: expected LabelMasks, got {type(truth).__name__}")
    boxes = widened(found.pred_boxes.tensor, margin).float().cpu().numpy()
    drawn = paste_masks(found.pred_masks[:, 0].float().cpu().numpy(), boxes, *found.image_size)
    return torch.from_numpy(largest_ious(truth.labels.cpu().numpy(), drawn)).float()


def weigh_by_mask_iou(found: Instances) -> Instances:
    """Detections of one image with scores x expected IoU, from the highest down.

    Args:
        found: raw detections, with scores and mask_ious, which is taken from them.
    """
    found.scores = found.scores * found.mask_ious.clamp(0, 1)
    found.remove("mask_ious")
    return found[found.scores.argsort(descending=True, stable=True)]
