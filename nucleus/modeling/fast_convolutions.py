"""A network's convolutions with what follows or surrounds them done at less cost: the same numbers, up to rounding.

- A frozen batch norm after a convolution multiplies and adds constants: they go into the weights and the bias, so that
  the feature map is not read and written again, forward and backward, and stays bfloat16 under autocast.
- oneDNN has no fast kernels on CPUs for two gradients of depthwise convolutions: that of the weights where they are
  larger than 3 x 3, and that of the input in bfloat16 with a stride. Both are had from kernels that are fast.
"""

from __future__ import annotations

from typing import Any

import torch
from detectron2.layers import Conv2d as DetectronConv2d
from detectron2.layers import FrozenBatchNorm2d
from timm.layers import FrozenBatchNormAct2d
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import nn
from torch.nn import functional as F
from torchvision.ops.misc import FrozenBatchNorm2d as TorchvisionFrozenBatchNorm2d

FROZEN = (FrozenBatchNorm2d, TorchvisionFrozenBatchNorm2d, FrozenBatchNormAct2d)
PLAIN = (nn.Conv2d, Conv2dSame, DetectronConv2d)
PROBE = (1, 3, 64, 96)  # shape of the image with which the order of the layers is found


def speed_up_convolutions(network: nn.Module) -> int:
    """Put faster layers in the place of a network's convolutions and frozen batch norms, in place.

    Parameters and buffers keep their names and values, and the norms stay where they are.

    Args:
        network: takes images (N, 3, H, W), and gives maps as a list or dict.

    Returns:
        How many batch norms were folded.
    """
    pairs = _norms_of_convolutions(network)
    for module in list(network.modules()):
        if type(module) not in PLAIN:
            continue
        norm = module.norm if isinstance(module, DetectronConv2d) else pairs.get(module)
        if norm is None or type(norm) in FROZEN:  # else Detectron2's convolution has a norm that is trained
            _replace(module, norm)
    for norm in pairs.values():
        norm.__class__ = FoldedBatchNormAct2d if isinstance(norm, FrozenBatchNormAct2d) else FoldedBatchNorm2d
    return sum(isinstance(module, FastConv2d) and bool(module.folded) for module in network.modules())


class FastConv2d(nn.Conv2d):
    """A convolution with the frozen batch norm that follows it; takes the place of one of `PLAIN`."""

    folded: tuple[nn.Module, ...]  # a tuple, since the norm is another module's child
    same_padding: bool
    activation: Any  # Detectron2's: a function or module, or None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (N, C', H', W') of maps (N, C, H, W)."""
        weight, bias = self.weight, self.bias
        for norm in self.folded:
            scale, shift = _scale_and_shift(norm)
            weight = weight * scale[:, None, None, None]
            bias = shift if bias is None else shift + bias * scale
        padding = self.padding
        if self.same_padding:
            x, padding = pad_same(x, list(self.kernel_size), list(self.stride), list(self.dilation)), (0, 0)
        if x.device.type == "cpu" and self.groups == x.shape[1] > 1 and self.dilation == (1, 1):
            x = depthwise_conv2d(x, weight, bias, self.stride, padding)
        else:
            x = F.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)
        return x if self.activation is None else self.activation(x)


class FoldedBatchNorm2d(TorchvisionFrozenBatchNorm2d):
    """What is left of a frozen batch norm whose convolution does its work: its buffers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same."""
        return x


class FoldedBatchNormAct2d(FrozenBatchNormAct2d):
    """What is left of timm's frozen batch norm whose convolution does its work: its buffers and its activation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The activation."""
        return self.act(self.drop(x))


def depthwise_conv2d(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Any, padding: Any
) -> torch.Tensor:
    """`F.conv2d` of (N, C, H, W) with weights (M, 1, K, L), one channel a group, with faster gradients on a CPU."""
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    return _DepthwiseConv2d.apply(x, weight, bias, stride, padding)


class _DepthwiseConv2d(torch.autograd.Function):
    """Forward by oneDNN; see the module for the gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        found_x = found_weight = found_bias = None
        if for_x:
            wide = torch.float32 if max(ctx.stride) > 1 and x.dtype == torch.bfloat16 else x.dtype
            found_x, *_ = _gradients(gradient.to(wide), x.to(wide), weight.to(wide), ctx.stride, ctx.padding, 0)
            found_x = found_x.to(x.dtype)
        if for_weight:
            found_weight = _weight_gradient(gradient, x, weight, ctx.stride, ctx.padding)
        if for_bias:
            found_bias = gradient.sum(dim=(0, 2, 3))
        return found_x, found_weight, found_bias, None, None


def _weight_gradient(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> torch.Tensor:
    """Gradient of depthwise weights, put together from parts of 3 x 3 where these are larger."""
    height, width = weight.shape[2:]
    if (height <= 3 and width <= 3) or height != width or height % 2 == 0:
        return _gradients(gradient, x, weight, stride, padding, 1)[1]
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    rows, columns = ((size - 1) * step + 3 for size, step in zip(gradient.shape[2:], stride, strict=True))
    found = torch.empty_like(weight)
    for top in range(0, height - 2, 2):
        for left in range(0, width - 2, 2):
            part = x[:, :, top : top + rows, left : left + columns]
            of_part = weight[:, :, top : top + 3, left : left + 3]
            found[:, :, top : top + 3, left : left + 3] = _gradients(gradient, part, of_part, stride, (0, 0), 1)[1]
    return found


def _gradients(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    which: int,
) -> tuple[torch.Tensor, ...]:
    """oneDNN's gradient of the input (0) or of the weights (1)."""
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, (1, 1), False, (0, 0), x.shape[1], [which == 0, which == 1, False]
    )


def _scale_and_shift(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _replace(convolution: Any, norm: nn.Module | None) -> None:
    """Make a convolution a FastConv2d that folds a norm; the module stays the same, with its parameters and names."""
    same_padding, activation = isinstance(convolution, Conv2dSame), getattr(convolution, "activation", None)
    convolution.__class__ = FastConv2d
    convolution.folded = () if norm is None else (norm,)
    convolution.same_padding = same_padding
    convolution.activation = activation


@torch.no_grad()
def _norms_of_convolutions(network: nn.Module) -> dict[nn.Module, nn.Module]:
    """The frozen norm that takes the output of each convolution, found by following one image through the network."""
    makers: dict[
        int, tuple[nn.Module, torch.Tensor]
    ] = {}  # by the id of what they made, which is kept so that it stays
    pairs: dict[nn.Module, nn.Module] = {}

    def made(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        makers[id(output)] = module, output

    def taken(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if id(inputs[0]) in makers:
            pairs[makers[id(inputs[0])][0]] = module

    hooks = [one.register_forward_hook(made) for one in network.modules() if type(one) in (nn.Conv2d, Conv2dSame)]
    hooks += [one.register_forward_pre_hook(taken) for one in network.modules() if type(one) in FROZEN]
    was_training = network.training
    try:
        network.eval()(torch.zeros(PROBE))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return pairs
