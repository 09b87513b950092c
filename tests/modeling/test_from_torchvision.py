"""torchvision's own network against Detectron2's with its weights, and checkpoints that do not belong here."""

from __future__ import annotations

import re

import pytest
import torch
import torchvision
from detectron2.modeling import build_model
from torch import nn

import nucleus.modeling  # noqa: F401  registers the model parts
from nucleus.config import load_config
from nucleus.errors import InputError
from nucleus.modeling.from_torchvision import MEAN, STD, from_torchvision, is_torchvision, renamed

CONFIG = "configs/mask_rcnn_R50_FPN.yaml"
CLASSES = 3  # and the background


def fresh(pytestconfig, *overrides) -> nn.Module:
    cfg = load_config(
        pytestconfig.rootpath / CONFIG,
        ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "MODEL.RESNETS.STRIDE_IN_1X1", "False", *overrides],
    )
    torch.manual_seed(1)
    return build_model(cfg).eval()


@pytest.fixture(scope="module")
@torch.no_grad()
def theirs() -> nn.Module:
    """torchvision's network of random weights, its norms with statistics as after training."""
    torch.manual_seed(0)
    network = torchvision.models.detection.maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 0.6)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            module.running_var.uniform_(0.5, 2.0)
            module.running_var[::4].uniform_(2e-6, 5e-5)  # where an epsilon counts
            module.weight[::4] *= 3e-3
    return network.eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    """RGB in [0, 1], (3, 96, 128)."""
    return torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("eps", [0.0, 1e-5], ids=["trained on COCO", "trained from ImageNet"])
@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_the_same_numbers_as_torchvision(theirs, image, pytestconfig, eps, order):
    """Features, RPN outputs, and the heads on the same regions; from the same pixels, each in its own form."""
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps
    scale = ["MODEL.PIXEL_MEAN", [255 * one for one in MEAN], "MODEL.PIXEL_STD", [255 * one for one in STD]]
    own = [] if order == "BGR" else ["INPUT.FORMAT", "RGB", *scale]
    ours = fresh(pytestconfig, "MODEL.ROI_HEADS.NUM_CLASSES", CLASSES, *own)
    missing, unexpected = ours.load_state_dict(from_torchvision(theirs.state_dict(), ours, norm_eps=eps), strict=False)
    assert not missing and not unexpected

    normalised = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    expected = list(theirs.backbone(normalised[None]).values())
    pixels = 255 * (image.flip(0) if order == "BGR" else image)
    features = ours.backbone(ours.preprocess_image([{"image": pixels}]).tensor)
    levels = [features[f"p{level}"] for level in range(2, 7)]
    for found, wanted in zip(levels, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())

    logits, deltas = theirs.rpn.head(expected)
    own_logits, own_deltas = ours.proposal_generator.rpn_head(expected)
    for found, wanted in zip([*own_logits, *own_deltas], [*logits, *deltas], strict=True):
        torch.testing.assert_close(found, wanted)

    regions = torch.randn(5, 256, 7, 7)
    scores, boxes = theirs.roi_heads.box_predictor(theirs.roi_heads.box_head(regions))
    own_scores, own_boxes = ours.roi_heads.box_predictor(ours.roi_heads.box_head(regions))
    torch.testing.assert_close(own_scores, torch.cat([scores[:, 1:], scores[:, :1]], dim=1))
    torch.testing.assert_close(own_boxes, boxes[:, 4:])
    regions = torch.randn(2, 256, 14, 14)
    masks = theirs.roi_heads.mask_predictor(theirs.roi_heads.mask_head(regions))
    torch.testing.assert_close(ours.roi_heads.mask_head.layers(regions), masks[:, 1:], rtol=1e-4, atol=1e-4)


def test_what_the_classes_decide_stays_as_it_is(theirs, pytestconfig):
    """Three classes there, one here: the layers with an output a class do not fit, and all others do."""
    ours = fresh(pytestconfig)
    own = ours.state_dict()
    converted = from_torchvision(theirs.state_dict(), ours)
    assert set(converted) == set(own)
    assert {name for name in own if own[name].shape != converted[name].shape} == {
        f"roi_heads.{layer}.{kind}"
        for layer in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_head.predictor")
        for kind in ("weight", "bias")
    }


def test_names_by_hand():
    for theirs, ours in {
        "backbone.body.conv1.weight": "backbone.bottom_up.stem.conv1.weight",
        "backbone.body.bn1.running_var": "backbone.bottom_up.stem.conv1.norm.running_var",
        "backbone.body.layer1.0.downsample.0.weight": "backbone.bottom_up.res2.0.shortcut.weight",
        "backbone.body.layer3.5.bn2.bias": "backbone.bottom_up.res4.5.conv2.norm.bias",
        "backbone.fpn.inner_blocks.0.0.weight": "backbone.fpn_lateral2.weight",
        "rpn.head.conv.0.0.bias": "proposal_generator.rpn_head.conv.bias",
        "roi_heads.mask_head.3.0.weight": "roi_heads.mask_head.mask_fcn4.weight",
        # as torchvision before 0.14 wrote them, and its COCO checkpoint still has them
        "backbone.fpn.layer_blocks.3.weight": "backbone.fpn_output5.weight",
        "rpn.head.conv.weight": "proposal_generator.rpn_head.conv.weight",
        "roi_heads.mask_head.mask_fcn4.weight": "roi_heads.mask_head.mask_fcn4.weight",
    }.items():
        assert renamed(theirs) == ours


def test_what_does_not_belong_together(theirs, pytestconfig):
    state = theirs.state_dict()
    assert is_torchvision(state) and not is_torchvision(fresh(pytestconfig).state_dict())
    with pytest.raises(InputError, match=r"w\.pth: expected .*stride in the 3x3.*STRIDE_IN_1X1 False"):
        from_torchvision(state, fresh(pytestconfig, "MODEL.RESNETS.STRIDE_IN_1X1", "True"), "w.pth")
    with pytest.raises(InputError, match=r"w\.pth: expected a config with a ResNet and FPN"):
        from_torchvision(state, nn.Linear(1, 1), "w.pth")
    second = torchvision.models.detection.maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
    with pytest.raises(InputError, match=r"expected tensors of maskrcnn_resnet50_fpn, found .*The v2 models"):
        from_torchvision(second.state_dict(), fresh(pytestconfig), "w.pth")


def test_another_mean_is_said(theirs, pytestconfig, caplog):
    other = fresh(pytestconfig, "MODEL.PIXEL_MEAN", [127.0, 127.0, 127.0])
    from_torchvision(theirs.state_dict(), other)
    assert re.search(r"PIXEL_MEAN is \[127\.0, 127\.0, 127\.0\], but torchvision's weights were trained", caplog.text)
