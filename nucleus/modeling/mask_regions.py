"""Where the mask branch draws: in the box of a nucleus, or in somewhat more.

What a box cuts off, its mask lacks, however good the mask branch is. On bbbc038_val that costs the model `lite` without
a margin up to 0.05 of its DSB score (`benchmarks/bounds.py`); trained with one, it won back 0.003 (docs/accuracy.md).
"""

from __future__ import annotations

import torch

LARGEST_MARGIN = 0.5


def widened(boxes: torch.Tensor, margin: float) -> torch.Tensor:
    """Boxes (N, 4), XYXY, with each side moved outwards by this share of their width or height, outside images, too."""
    by = margin * (boxes[:, 2:] - boxes[:, :2])
    return torch.cat([boxes[:, :2] - by, boxes[:, 2:] + by], dim=1)
