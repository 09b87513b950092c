"""How sure a mask is of its outline, as a part of the score of its nucleus.

The score of the box branch says that there is a nucleus, not that its outline is right (Huang et al. 2019, "Mask
Scoring R-CNN", section 1, who train a branch of its own for that). The mask tells without one: where the outline is
sure, probabilities fall steeply, and the mask hardly depends on where they are cut. The IoU of the mask cut low and cut
high is the stability of Kirillov et al. 2023, "Segment Anything", section 4.
"""

from __future__ import annotations

import torch
from detectron2.structures import Instances

LOW, HIGH = 0.3, 0.7  # probabilities at which the mask is cut


def stability(probabilities: torch.Tensor) -> torch.Tensor:
    """IoU of each mask cut at LOW and at HIGH, which lies within.

    Args:
        probabilities: (N, 1, M, M), in [0, 1], as mask heads give them.

    Returns:
        float32 (N,), in [0, 1]; 0 for a mask without a pixel of LOW or more.
    """
    low, high = ((probabilities >= cut).flatten(1).sum(dim=1).float() for cut in (LOW, HIGH))
    return high / low.clamp(min=1)


def weigh_by_stability(found: Instances) -> Instances:
    """Detections of one image with scores x stability, from the highest down.

    Args:
        found: raw detections, with scores and pred_masks as `stability` takes them.
    """
    found.scores = found.scores * stability(found.pred_masks)
    return found[found.scores.argsort(descending=True, stable=True)]
