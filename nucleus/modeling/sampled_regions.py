"""The regions of a batch on which the box and mask branches are trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class SampledRegions:
    """The R regions of N images on which the heads are trained, image after image, nuclei before background.

    Attributes:
        rois: float32 (R, 5), number of the image and box XYXY in pixels.
        classes: int64 (R,), the number of classes for background.
        target_boxes: float32 (R, 4), XYXY; of background and of no use where an image has no nuclei.
        targets: int64 (R,), index of the matched nucleus among those of the image.
        nuclei, background: how many of each in each image.
    """

    rois: torch.Tensor
    classes: torch.Tensor
    target_boxes: torch.Tensor
    targets: torch.Tensor
    nuclei: list[int]
    background: list[int]

    def foreground(self) -> torch.Tensor:
        """Positions of the regions that are nuclei, int64, made on the host."""
        found, first = [], 0
        for nuclei, background in zip(self.nuclei, self.background, strict=True):
            found.append(torch.arange(first, first + nuclei))
            first += nuclei + background
        return torch.cat(found).to(self.rois.device, non_blocking=True)
