"""Checkpoints of Detectron2 and torchvision as MODEL.WEIGHTS: files built here, loaded as training loads them."""

from __future__ import annotations

import pickle

import pytest
import torch
import torchvision
from detectron2.modeling import build_model
from safetensors.torch import save_file
from torch import nn

import nucleus.modeling  # noqa: F401  registers the model parts
from nucleus.config import load_config
from nucleus.engine.checkpointer import NucleusCheckpointer
from nucleus.errors import InputError

CONFIG = "configs/mask_rcnn_R50_FPN.yaml"
NARROW = [
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "8", "MODEL.RESNETS.RES2_OUT_CHANNELS", "16", "MODEL.FPN.OUT_CHANNELS", "16"),
    *("MODEL.RESNETS.WIDTH_PER_GROUP", "8", "MODEL.ROI_BOX_HEAD.FC_DIM", "16", "MODEL.ROI_MASK_HEAD.CONV_DIM", "16"),
]
STOCK = [  # as Detectron2's model zoo has it
    *("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"),
    *("MODEL.PROPOSAL_GENERATOR.NAME", "RPN", "MODEL.ROI_HEADS.NAME", "StandardROIHeads"),
    *("MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead", "MODEL.ROI_HEADS.NUM_CLASSES", "80"),
]


def build(pytestconfig, *overrides: str, seed: int) -> nn.Module:
    cfg = load_config(pytestconfig.rootpath / CONFIG, ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", *overrides])
    torch.manual_seed(seed)
    return build_model(cfg).eval()


@pytest.fixture
def coco(pytestconfig) -> nn.Module:
    """Detectron2's own Mask R-CNN of 80 classes, narrower, its norms with statistics as after training."""
    model = build(pytestconfig, *STOCK, *NARROW, seed=0)
    for name, buffer in model.named_buffers():
        if name.endswith(("norm.weight", "norm.running_var")):
            buffer.uniform_(0.5, 1.0)
        elif name.endswith(("norm.bias", "norm.running_mean")):
            buffer.normal_(std=0.1)
    return model


@torch.no_grad()
@pytest.mark.parametrize("kind", ["pkl", "pkl of a converted model", "pth", "safetensors"])
def test_coco_weights_of_detectron2(coco, pytestconfig, tmp_path, kind, caplog):
    state = coco.state_dict()
    arrays = {name: value.numpy() for name, value in state.items()}
    suffix = kind.split()[0]
    path = tmp_path / f"model_final.{suffix}"
    if suffix == "pkl":
        heuristics = {"matching_heuristics": True} if "converted" in kind else {}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo", **heuristics}))
    elif suffix == "pth":
        torch.save({"model": state, "iteration": 269_999}, path)
    else:
        save_file(state, path)
    ours = build(pytestconfig, *NARROW, seed=1)
    fresh = {name: value.clone() for name, value in ours.state_dict().items()}
    NucleusCheckpointer(ours, str(tmp_path / "run")).resume_or_load(str(path))

    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 100
    features, expected = ours.backbone(image), coco.backbone(image)
    for level, wanted in expected.items():
        torch.testing.assert_close(features[level], wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())
    levels = list(expected.values())
    for found, wanted in zip(
        ours.proposal_generator.rpn_head(levels), coco.proposal_generator.rpn_head(levels), strict=True
    ):
        assert all(map(torch.equal, found, wanted))
    loaded = ours.state_dict()
    assert {name for name in loaded if torch.equal(loaded[name], fresh[name]) and loaded[name].any()} == {
        f"roi_heads.{layer}.weight" for layer in ("box_predictor.cls_score", "box_predictor.bbox_pred",
                                                  "mask_head.predictor")
    }  # fmt: skip
    assert "Skip loading parameter 'roi_heads.mask_head.predictor.weight'" in caplog.text


def test_coco_weights_of_torchvision(pytestconfig, tmp_path):
    theirs = torchvision.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    path = tmp_path / "maskrcnn_resnet50_fpn_coco.pth"
    torch.save(theirs.state_dict(), path)
    ours = build(pytestconfig, "MODEL.RESNETS.STRIDE_IN_1X1", "False", seed=1)
    NucleusCheckpointer(ours, str(tmp_path / "run")).resume_or_load(str(path))
    assert torch.equal(ours.roi_heads.box_head.fc2.weight, theirs.roi_heads.box_head.fc7.weight)
    assert torch.equal(ours.backbone.fpn_output3.bias, theirs.backbone.fpn.layer_blocks[1][0].bias)
    wrong = build(pytestconfig, *NARROW, seed=1)
    with pytest.raises(InputError, match="STRIDE_IN_1X1 False"):
        NucleusCheckpointer(wrong, str(tmp_path / "run")).resume_or_load(str(path))
    path.unlink()


def test_a_pickle_that_would_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("witness").touch, ())

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"model": Evil(), "__author__": "nobody"}))
    with pytest.raises(InputError, match="which could run code"):
        NucleusCheckpointer(nn.Linear(1, 1), str(tmp_path)).resume_or_load(str(tmp_path / "evil.pkl"))
    assert not (tmp_path / "witness").exists()
