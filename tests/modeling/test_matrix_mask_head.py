"""The mask head by matrices is the one by convolutions."""

from __future__ import annotations

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead

from nucleus.modeling.matrix_mask_head import MatrixMaskHead


@pytest.mark.parametrize("norm", ["", "GN"])
@pytest.mark.parametrize(("classes", "count"), [(1, 5), (3, 2), (2, 0)])
def test_logits_and_gradients_are_those_of_the_convolutions(classes, count, norm):
    torch.manual_seed(0)
    shape = ShapeSpec(channels=8, height=6, width=4)
    heads = [
        kind(shape, num_classes=classes, conv_dims=[32, 32, 32], conv_norm=norm).double()
        for kind in (MaskRCNNConvUpsampleHead, MatrixMaskHead)
    ]
    heads[1].load_state_dict(heads[0].state_dict())
    x = torch.randn(count, 8, 6, 4, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(count, classes, 12, 8, dtype=torch.float64)
    expected, found = (head.layers(x) for head in heads)
    assert found.shape == (count, classes, 12, 8)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)
    gradients = [torch.autograd.grad(one, [x, *head.parameters()], upstream) for one, head in
                 zip((expected, found), heads, strict=True)]  # fmt: skip
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(other, one, rtol=1e-9, atol=1e-12)
