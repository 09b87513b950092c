from __future__ import annotations

import pytest
import timm
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from timm.layers import freeze_batch_norm_2d
from torch import nn

from nucleus.inference.fold_norms import fold_norms


class OneMap(nn.Module):
    """A network that gives one feature map under a name, as backbones do."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"p2": self.layers(x)}


class TwoUses(nn.Module):
    """The output of the convolution goes around the norm, too."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 1), unlike_one(nn.BatchNorm2d(4))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.convolution(x)
        return {"p2": self.norm(x) + x}


def unlike_one(network: nn.Module) -> nn.Module:
    """Give norms statistics and scales that change something."""
    for module in network.modules():
        if hasattr(module, "running_mean"):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return network


def norms_in(network: nn.Module) -> int:
    return sum(hasattr(module, "running_mean") for module in network.modules())


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


PROBE = (2, 3, 40, 32)


@torch.no_grad()
def test_by_hand():
    """2 x + 1, then mean 3 and variance 4 normalised, times 6, plus 5: 6 (2 x + 1 - 3) / 2 + 5 = 6 x - 1."""
    network = OneMap(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0)).eval()
    convolution, norm = network.layers
    for parameter, value in (
        (convolution.weight, 2), (convolution.bias, 1), (norm.running_mean, 3), (norm.running_var, 4),
        (norm.weight, 6), (norm.bias, 5),
    ):  # fmt: skip
        parameter.fill_(value)
    folded, count = fold_norms(network, torch.rand(1, 1, 3, 3))
    assert count == 1
    assert (float(folded.layers[0].weight), float(folded.layers[0].bias)) == (6, -1)
    assert float(convolution.weight) == 2  # the network is as it was


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "mobilenetv3_large_100", "convnext_atto"])
@pytest.mark.parametrize("frozen", [True, False])
@torch.no_grad()
def test_timm_models(name, frozen):
    network = unlike_one(timm.create_model(name, features_only=True)).eval()
    if frozen:
        network = freeze_batch_norm_2d(network)

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return dict(zip("abcde", self.body(x), strict=False))

    whole, probe = Named(), torch.rand(PROBE)
    norms = norms_in(whole)
    folded, count = fold_norms(whole, probe)
    assert count == norms
    assert norms_in(folded) == 0
    other = torch.rand(1, 3, 64, 96)
    for name, value in whole(other).items():
        assert torch.allclose(folded(other)[name], value, rtol=1e-3, atol=float(value.abs().max()) * 1e-4)


@torch.no_grad()
def test_detectron2_convolutions_hold_their_norm():
    own = unlike_one(Conv2d(3, 4, 3, bias=False, norm=FrozenBatchNorm2d(4), activation=nn.ReLU()))
    network = OneMap(own, unlike_one(nn.BatchNorm2d(4))).eval()  # the second norm follows an activation: it stays
    probe = torch.randn(PROBE)
    folded, count = fold_norms(network, probe)
    assert count == 1
    assert norms_in(folded) == 1
    assert torch.allclose(folded(probe)["p2"], network(probe)["p2"], atol=1e-5)


@torch.no_grad()
def test_shared_layers_and_other_norms_stay():
    norm = unlike_one(nn.BatchNorm2d(3))
    network = OneMap(nn.Conv2d(3, 3, 1), norm, nn.Conv2d(3, 3, 1), norm, nn.GroupNorm(1, 3)).eval()
    assert fold_norms(network, torch.rand(PROBE)) == (network, 0)


@torch.no_grad()
def test_a_fold_that_would_change_the_network_is_given_up():
    network = TwoUses().eval()
    assert fold_norms(network, torch.rand(PROBE)) == (network, 0)
