import logging

import pytest
import timm
import torch
import torchvision
from detectron2.modeling import build_backbone
from safetensors.torch import save_file
from torch import nn

from nucleus.config import load_config
from nucleus.errors import InputError
from nucleus.modeling.timm_backbone import TimmBackbone, names_in_file

IMAGES = torch.zeros(1, 3, 64, 96)


# One of each kind: plain, without batch norms, channels last with windows, hooks, grouped convolutions.
KINDS = ["resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "mobilenetv3_large_100", "regnetx_002"]


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", *KINDS])
def test_maps_have_the_promised_strides_and_channels_at_any_size(name):
    backbone = TimmBackbone(name).eval()
    assert list(backbone.output_shape()) == ["res2", "res3", "res4", "res5"]
    for height, width in ((64, 96), (224, 224), (160, 32)):
        with torch.no_grad():
            maps = backbone(torch.zeros(1, 3, height, width))
        for stage, spec in backbone.output_shape().items():
            assert maps[stage].shape == (1, spec.channels, height // spec.stride, width // spec.stride)


@pytest.mark.parametrize("name", ["convnext_atto", "swin_tiny_patch4_window7_224"])
def test_the_maps_are_those_of_timms_own_model(name):
    """At the size the model was made for, where timm needs nothing to be set; channels in their place, all weights."""
    whole = timm.create_model(name).eval()
    backbone = TimmBackbone(name).eval()
    names = names_in_file(backbone.features.state_dict(), whole.state_dict())
    backbone.features.load_state_dict({key: whole.state_dict()[other] for key, other in names.items()}, strict=True)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = whole.forward_intermediates(images, intermediates_only=True, output_fmt="NCHW")
        found = backbone(images)
    for stage, value in zip(found, expected, strict=True):
        assert torch.allclose(found[stage], value, atol=1e-4), stage


def test_freezing_changes_nothing_where_there_are_no_batch_norms():
    frozen, plain = TimmBackbone("convnext_atto", norm="FrozenBN"), TimmBackbone("convnext_atto", norm="BN")
    assert [type(module) for module in frozen.modules()] == [type(module) for module in plain.modules()]


def test_a_model_of_one_image_size_is_refused():
    with pytest.raises(InputError, match=r"any size.*maxvit_tiny_rw_224"):
        TimmBackbone("maxvit_tiny_rw_224")


def test_freezing_the_norms_keeps_the_network_that_timm_built():
    """Detectron2's own conversion would drop the activations that timm fuses into its norms."""
    images = torch.randn(1, 3, 64, 64)
    frozen = TimmBackbone("tf_efficientnet_lite0", "imagenet", norm="FrozenBN")
    plain = TimmBackbone("tf_efficientnet_lite0", "imagenet", norm="BN").eval()
    for stage, feature_map in plain(images).items():
        assert torch.allclose(frozen.train()(images)[stage], feature_map, atol=1e-4)


@pytest.fixture
def load_report(caplog):
    """Gives what was logged about loading."""
    caplog.set_level(logging.INFO, logger="nucleus.modeling.timm_backbone")
    return lambda: " ".join(record.getMessage() for record in caplog.records)


def test_weights_of_torchvision_load_by_name_from_a_local_file(tmp_path, load_report):
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    backbone = TimmBackbone("resnet18", str(tmp_path / "resnet18.pth"), norm="BN").eval()
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = nn.Sequential(stem, network.layer1, network.layer2, network.layer3, network.layer4).eval()(images)
        assert torch.allclose(backbone(images)["res5"], expected, atol=1e-4)
    # 20 convolutions and 20 norms of 5 tensors; the classifier has no place in a backbone.
    assert "120 of 120 tensors loaded" in load_report() and "missing 0: none" in load_report()
    assert "left over 2: fc.weight, fc.bias" in load_report()


def test_what_is_missing_and_of_another_shape_is_reported(tmp_path, load_report):
    state = timm.create_model("resnet18").state_dict()
    del state["bn1.bias"]
    state["conv1.weight"] = torch.ones(64, 1, 7, 7)
    save_file(state, tmp_path / "resnet18.safetensors")
    TimmBackbone("resnet18", str(tmp_path / "resnet18.safetensors"))
    assert "118 of 120 tensors loaded" in load_report() and "missing 2: conv1.weight, bn1.bias" in load_report()
    assert "left over 3: conv1.weight, fc.bias, fc.weight" in load_report()


@pytest.mark.parametrize("name", ["convnext_atto", "mobilenetv3_large_100", "hrnet_w18_small"])
def test_weights_of_the_whole_model_fit_the_parts_that_timm_makes_of_it(name, tmp_path, load_report):
    save_file(timm.create_model(name).state_dict(), tmp_path / "whole.safetensors")
    TimmBackbone(name, str(tmp_path / "whole.safetensors"))
    assert "missing 0: none" in load_report()


def test_a_trained_checkpoint_gives_its_backbone(tmp_path, load_report):
    state = TimmBackbone("resnet18", norm="BN").state_dict()
    torch.save({"model": {f"backbone.bottom_up.{key}": value for key, value in state.items()}}, tmp_path / "model.pth")
    TimmBackbone("resnet18", str(tmp_path / "model.pth"))
    assert "120 of 120 tensors loaded" in load_report() and "left over 0: none" in load_report()


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="none of which fits"):
        TimmBackbone("resnet18", str(tmp_path / "other.safetensors"))


def test_unknown_names_are_refused_with_near_ones():
    with pytest.raises(InputError, match="resnet"):
        TimmBackbone("resnet19")
    with pytest.raises(InputError, match="FrozenBN or BN"):
        TimmBackbone("resnet18", norm="GN")


def test_the_config_builds_an_fpn_over_it(pytestconfig):
    cfg = load_config(pytestconfig.rootpath / "configs/quick/mask_rcnn_lite0_FPN.yaml")
    maps = build_backbone(cfg)(IMAGES)
    assert list(maps) == ["p2", "p3", "p4", "p5", "p6"]
    assert maps["p2"].shape == (1, 64, 16, 24)
