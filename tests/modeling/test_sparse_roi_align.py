"""ROIAlign as a sparse matrix against torchvision's, through Detectron2's pooler."""

from __future__ import annotations

import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes

from nucleus.modeling.sparse_roi_align import SparseROIAlign, SparseROIPooler

SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


def test_by_hand():
    """Two bins across a region that covers pixels 1 and 2 of the map: each is its pixel; half a pixel on, the means."""
    features = torch.tensor([[[[0.0, 1.0, 2.0, 4.0]]]])
    align = SparseROIAlign((1, 2), 1.0, 0, aligned=True)
    assert align(features, torch.tensor([[0.0, 1.0, 0.0, 3.0, 1.0]])).flatten().tolist() == [1, 2]
    assert align(features, torch.tensor([[0.0, 1.5, 0.0, 3.5, 1.0]])).flatten().tolist() == [1.5, 3]


def regions(count: int, side: float, seed: int = 0) -> torch.Tensor:
    """Boxes of many sizes on three images of 128 x 160 pixels, some across the border, empty or outside."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 2, generator=generator) * torch.tensor([160.0, 128.0])
    half = (torch.randn(count, 2, generator=generator) * 0.7).exp() * side / 2
    image = torch.randint(0, 3, (count, 1), generator=generator).float()
    rois = torch.cat([image, centre - half, centre + half], dim=1)
    rois[0, 1:] = torch.tensor([10.0, 10, 10, 10])
    rois[1, 1:] = torch.tensor([-90.0, -60, -50, -20])
    rois[2, 1:] = torch.tensor([-3.0, -3, 163, 131])
    rois[3, 1:] = torch.tensor([400.0, 300, 500, 400])
    rois[4, 1:] = torch.tensor([20.0, 30, 10, 15])  # of negative extent
    return rois


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("bins", "ratio", "aligned"), [(7, 0, True), (14, 0, True), ((3, 5), 2, True), (7, 0, False)])
def test_values_and_gradients_are_torchvisions(bins, ratio, aligned, layout):
    features = torch.randn(3, 8, 32, 40, generator=torch.Generator().manual_seed(1))
    features = features.to(memory_format=layout).requires_grad_()
    rois = regions(80, 24)
    if not aligned:
        rois = rois[5:]  # torchvision makes boxes of negative extent one pixel wide there
    size = (bins, bins) if isinstance(bins, int) else bins
    results = [kind(size, 0.25, ratio, aligned)(features, rois) for kind in (ROIAlign, SparseROIAlign)]
    weight = torch.randn(results[0].shape, generator=torch.Generator().manual_seed(2))
    (expected, found), gradients = results, [torch.autograd.grad(one, features, weight)[0] for one in results]
    assert found.shape == expected.shape and found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=2e-6)
    assert torch.allclose(gradients[1], gradients[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [16, 200])
def test_a_pyramid_is_pooled_as_by_detectron2(side):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(3, 4, 32 >> i, 40 >> i, generator=generator) for i in range(4)]
    rois = regions(60, side)
    rois = rois[rois[:, 0].argsort(stable=True)]
    boxes = [Boxes(rois[rois[:, 0] == image, 1:]) for image in range(3)]
    arguments = (7, SCALES, 0, "ROIAlignV2")
    stock, ours = ROIPooler(*arguments), SparseROIPooler(*arguments)
    expected = stock(maps, boxes)
    assert torch.allclose(ours(maps, boxes), expected, atol=2e-6)
    shuffled = torch.randperm(len(rois), generator=generator)
    assert torch.allclose(ours.pool(maps, rois[shuffled]), expected[shuffled], atol=2e-6)
    assert not stock.state_dict() and not ours.state_dict()


def test_no_regions():
    maps = [torch.randn(2, 4, 8 >> i, 8 >> i, requires_grad=True) for i in range(4)]
    pooled = SparseROIPooler(7, SCALES, 0, "ROIAlignV2").pool(maps, torch.zeros(0, 5))
    assert pooled.shape == (0, 4, 7, 7)
    pooled.sum().backward()
    assert (maps[0].grad == 0).all()


def test_elsewhere_the_features_keep_their_dtype():
    """On a device of shapes alone, which stands for a GPU."""
    features = torch.zeros(1, 3, 8, 8, device="meta", dtype=torch.bfloat16)
    pooled = SparseROIAlign((2, 2), 1.0, 0, aligned=True)(features, torch.zeros(5, 5, device="meta"))
    assert pooled.shape == (5, 3, 2, 2) and pooled.dtype == torch.bfloat16


def test_boxes_keep_their_precision_under_autocast():
    """Detectron2 rounds them to bfloat16 there: 201.25 becomes 201."""
    features = torch.arange(256.0).expand(1, 1, 4, 256).to(torch.bfloat16)
    rois = torch.tensor([[0.0, 201.25, 0.0, 202.25, 1.0]])
    with torch.autocast("cpu", torch.bfloat16):
        ours = SparseROIAlign((1, 1), 1.0, 0, aligned=True)(features, rois)
        stock = ROIAlign((1, 1), 1.0, 0, aligned=True)(features, rois)
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(201.25)
    assert stock.item() != pytest.approx(201.25, abs=0.1)
