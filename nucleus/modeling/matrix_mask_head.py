"""Detectron2's mask head with its last two layers as matrices."""

from __future__ import annotations

import torch
from detectron2.modeling import ROI_MASK_HEAD_REGISTRY
from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead
from torch.nn import functional as F


@ROI_MASK_HEAD_REGISTRY.register()
class MatrixMaskHead(MaskRCNNConvUpsampleHead):
    """MaskRCNNConvUpsampleHead (He et al. 2017, "Mask R-CNN", figure 4) with the same parameters and results.

    A transposed convolution of 2 x 2 with stride 2 writes each output pixel once: it is a matrix with four rows of
    outputs a pixel. The predictor looks at one pixel, so that it can come before the four are put in their places,
    which then moves one channel a class in place of 256. oneDNN's weight gradient of the transposed convolution is
    several times slower than that of the matrix.
    """

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (M, classes, 2 H, 2 W) of regions (M, C, H, W)."""
        for convolution in self.conv_norm_relus:
            x = convolution(x)
        count, _, height, width = x.shape
        weight = self.deconv.weight.permute(2, 3, 1, 0)  # (row, column, out, in)
        outputs = weight.shape[2]
        x = F.relu_(F.conv2d(x, weight.reshape(4 * outputs, -1, 1, 1), self.deconv.bias.repeat(4)))
        rows = x.permute(0, 2, 3, 1).reshape(-1, outputs)  # (M, H, W, row, column) x out
        logits = F.linear(rows, self.predictor.weight[:, :, 0, 0], self.predictor.bias)
        classes = len(self.predictor.weight)
        logits = logits.view(count, height, width, 2, 2, classes).permute(0, 5, 1, 3, 2, 4)
        return logits.reshape(count, classes, 2 * height, 2 * width)
