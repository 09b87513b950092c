"""Convolutions of a network replaced: the same names, numbers and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from detectron2.modeling import build_backbone
from model_pairs import QUICK
from torch import nn
from torch.nn import functional as F

from nucleus.config import load_config
from nucleus.modeling.fast_convolutions import FastConv2d, depthwise_conv2d, speed_up_convolutions
from nucleus.modeling.timm_backbone import TimmBackbone


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((3, 3), 1, 1), ((3, 3), 2, 0), ((5, 5), 1, 2), ((5, 5), 2, 2), ((7, 7), 1, 3), ((4, 4), 1, 0), ((1, 5), 1, 2)],
)
def test_depthwise_gradients_are_torchs(kernel, stride, padding, layout):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 17, 20, generator=generator, dtype=torch.float64).to(memory_format=layout)
    weight = torch.randn(6, 1, *kernel, generator=generator, dtype=torch.float64)
    bias = torch.randn(6, generator=generator, dtype=torch.float64)
    inputs = [one.requires_grad_() for one in (x, weight, bias)]
    expected = F.conv2d(*inputs, stride, padding, 1, 6)
    found = depthwise_conv2d(*inputs, (stride, stride), (padding, padding))
    upstream = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    assert torch.equal(found, expected)
    gradients = (torch.autograd.grad(one, inputs, upstream) for one in (expected, found))
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 1), (5, 2)])
def test_depthwise_gradients_in_bfloat16_are_as_good_as_torchs(kernel, stride):
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 32, 16, 16, generator=generator), torch.randn(32, 1, kernel, kernel, generator=generator)
    upstream = torch.randn(F.conv2d(x, weight, None, stride, kernel // 2, 1, 32).shape, generator=generator)
    x, weight, upstream = (one.bfloat16() for one in (x, weight, upstream))  # what all start from
    results = []
    for dtype, apply in ((torch.float64, F.conv2d), (torch.bfloat16, F.conv2d), (torch.bfloat16, None)):
        inputs = [one.to(dtype).requires_grad_() for one in (x, weight)]
        if apply is None:
            out = depthwise_conv2d(*inputs, None, (stride, stride), (kernel // 2, kernel // 2))
        else:
            out = apply(*inputs, None, stride, kernel // 2, 1, 32)
        results.append(torch.autograd.grad(out, inputs, upstream.to(dtype)))
    for exact, torchs, ours in zip(*results, strict=True):
        error, own = ((one.double() - exact).norm() / exact.norm() for one in (torchs, ours))
        assert own < max(1.5 * error, 0.004)  # bfloat16 has 8 bits: rounding once costs 0.002


def moved_norms(network: nn.Module) -> nn.Module:
    """Frozen norms with statistics of their own, so that folding them does something."""
    generator = torch.Generator().manual_seed(0)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "bias")):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.2)
        elif name.endswith(("running_var", "weight")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return network


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "mobilenetv3_large_100", "regnetx_002"])
def test_a_timm_network_stays_what_it_is(name):
    stock = moved_norms(TimmBackbone(name)).double()
    fast = copy.deepcopy(stock).float()
    folded = speed_up_convolutions(fast)
    fast = copy.deepcopy(fast.double())  # as the average of the weights does
    assert folded > 10
    assert {key: value.shape for key, value in fast.state_dict().items()} == {
        key: value.shape for key, value in stock.state_dict().items()
    }
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)).double()
    losses = []
    for network in (stock, fast):
        maps = network(images)
        losses.append(sum((one**2).mean() for one in maps.values()))
        losses[-1].backward()
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-9)
    for (key, one), (other_key, other) in zip(stock.named_parameters(), fast.named_parameters(), strict=True):
        assert key == other_key
        assert (one.grad is None) == (other.grad is None), key
        if one.grad is not None:
            assert torch.allclose(one.grad, other.grad, rtol=1e-6, atol=1e-9 * float(one.grad.abs().max())), key


def test_norms_that_are_trained_stay():
    network = TimmBackbone("resnet18", norm="BN")
    names = [type(one).__name__ for one in network.modules() if "Norm" in type(one).__name__]
    assert speed_up_convolutions(network) == 0
    assert [type(one).__name__ for one in network.modules() if "Norm" in type(one).__name__] == names
    network(torch.randn(2, 3, 64, 64)).popitem()


@pytest.mark.parametrize("norm", ["FrozenBN", "GN"])
def test_detectron2s_resnet_stays_what_it_is(norm):
    overrides = ["MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64", "MODEL.RESNETS.NORM", norm]
    overrides += ["MODEL.BACKBONE.NAME", "build_folded_resnet_fpn_backbone", "MODEL.BACKBONE.FREEZE_AT", "0"]
    torch.manual_seed(0)
    stock = moved_norms(build_backbone(load_config(QUICK, [*overrides, "MODEL.FAST_CONVOLUTIONS", "False"])))
    fast = build_backbone(load_config(QUICK, [*overrides, "MODEL.FAST_CONVOLUTIONS", "True"]))
    fast.load_state_dict(stock.state_dict())
    folding = [one for one in fast.modules() if isinstance(one, FastConv2d) and one.folded]
    assert len(folding) == (20 if norm == "FrozenBN" else 0)
    images = torch.randn(1, 3, 64, 96)
    for key, expected in stock(images).items():
        assert torch.allclose(fast(images)[key], expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item()), key


def test_statistics_of_norms_in_a_checkpoint_load():
    """A network trained with batch norms counts their batches, which frozen ones do not."""
    trained, frozen = TimmBackbone("resnet18", norm="BN"), TimmBackbone("resnet18")
    speed_up_convolutions(frozen)
    frozen.load_state_dict(trained.state_dict())
    assert any("num_batches" in key for key in trained.state_dict())
