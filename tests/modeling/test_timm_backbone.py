import pytest
import timm
import torch
from detectron2.modeling import build_backbone
from safetensors.torch import save_file

from nucleus.config import load_config
from nucleus.errors import InputError
from nucleus.modeling.timm_backbone import TimmBackbone

IMAGES = torch.zeros(1, 3, 64, 96)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_maps_have_the_promised_strides_and_channels(name):
    backbone = TimmBackbone(name)
    for stage, feature_map in backbone(IMAGES).items():
        spec = backbone.output_shape()[stage]
        assert feature_map.shape == (1, spec.channels, 64 // spec.stride, 96 // spec.stride)
    assert list(backbone.output_shape()) == ["res2", "res3", "res4", "res5"]


def test_freezing_the_norms_keeps_the_network_that_timm_built():
    """Detectron2's own conversion would drop the activations that timm fuses into its norms."""
    images = torch.randn(1, 3, 64, 64)
    frozen = TimmBackbone("tf_efficientnet_lite0", "imagenet", norm="FrozenBN")
    plain = TimmBackbone("tf_efficientnet_lite0", "imagenet", norm="BN").eval()
    for stage, feature_map in plain(images).items():
        assert torch.allclose(frozen.train()(images)[stage], feature_map, atol=1e-4)


def test_weights_load_by_name_from_a_local_file(tmp_path):
    network = timm.create_model("resnet18")
    save_file(network.state_dict(), tmp_path / "resnet18.safetensors")
    backbone = TimmBackbone("resnet18", str(tmp_path / "resnet18.safetensors"), norm="BN")
    assert torch.equal(backbone.features.state_dict()["layer1.0.conv1.weight"], network.layer1[0].conv1.weight)


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
