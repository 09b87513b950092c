"""Frozen normalisation folded into the convolution before it: the same network with fewer passes over memory.

With fixed statistics, norm(W x + b) = s (W x + b) + t is a convolution again, of weights s W and bias s b + t (Jacob et
al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", section 3.2).
On a CPU the norms and their temporary arrays take about a third of the time of a small backbone.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d
from torch import nn
from torchvision import ops

# timm's BatchNormAct2d is a BatchNorm2d; its frozen form of that itself is torchvision's.
FOLDABLE = (nn.BatchNorm2d, FrozenBatchNorm2d, FrozenBatchNormAct2d, ops.FrozenBatchNorm2d)
TOLERANCE = 1e-3  # of the largest value of a feature map; a wrong fold is off by all of it


def fold_norms(network: nn.Module, probe: torch.Tensor) -> tuple[nn.Module, int]:
    """Fold every norm with fixed statistics whose input is the output of one convolution.

    Which convolution that is, is seen by running the network once. The result is compared with the network as it was.

    Args:
        network: gives a dict of feature maps; in evaluation mode. It is left as it was.
        probe: images (N, 3, H, W) to run it on, on its device.

    Returns:
        A network with the same outputs but for rounding, and how many norms were folded; the network itself and 0 where
        there are none, or where a norm cannot be folded because something else uses its input.
    """
    folded = deepcopy(network)
    with torch.no_grad():
        pairs = _pairs(folded, probe)
        for convolution, norm in pairs:
            _fold(convolution, norm)
        count = len(pairs) + _fold_wrapped(folded)
        _replace(folded, {norm for _, norm in pairs})
        if count == 0 or not _agree(network(probe), folded(probe)):
            return network, 0
    return folded, count


def _pairs(network: nn.Module, probe: torch.Tensor) -> list[tuple[nn.Module, nn.Module]]:
    """Convolutions and the norms that take their outputs, each used once."""
    outputs: list[tuple[torch.Tensor, nn.Module]] = []  # held, so that no tensor gets the identity of an earlier one
    inputs: list[tuple[torch.Tensor, nn.Module]] = []
    calls: dict[nn.Module, int] = {}

    def seen(module: nn.Module, arguments: tuple, output: object) -> None:
        calls[module] = calls.get(module, 0) + 1
        if _is_foldable(module):
            inputs.append((arguments[0], module))
        elif isinstance(output, torch.Tensor):
            outputs.append((output, module))

    hooks = [
        module.register_forward_hook(seen)
        for module in network.modules()
        if _is_foldable(module) or (isinstance(module, nn.Conv2d) and not _does_more(module))
    ]
    try:
        network(probe)
    finally:
        for hook in hooks:
            hook.remove()
    source = {id(output): convolution for output, convolution in outputs}
    found = [(source[id(value)], norm) for value, norm in inputs if id(value) in source]
    return [pair for pair in found if calls[pair[0]] == calls[pair[1]] == 1]


def _is_foldable(norm: object) -> bool:
    return isinstance(norm, FOLDABLE) and norm.weight is not None and norm.running_mean is not None


def _does_more(convolution: nn.Module) -> bool:
    """Whether a convolution of Detectron2 normalises or activates, too."""
    return isinstance(convolution, Conv2d) and not (convolution.norm is None and convolution.activation is None)


def _fold(convolution: Any, norm: Any) -> None:
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    if convolution.bias is not None:
        shift = shift + convolution.bias * scale
    convolution.weight.mul_(scale.view(-1, 1, 1, 1))
    convolution.bias = nn.Parameter(shift, requires_grad=False)


def _fold_wrapped(network: nn.Module) -> int:
    """Detectron2's convolutions hold their norm themselves."""
    wrapped = [one for one in network.modules() if isinstance(one, Conv2d) and _is_foldable(one.norm)]
    for convolution in wrapped:
        _fold(convolution, convolution.norm)
        convolution.norm = None
    return len(wrapped)


def _replace(network: nn.Module, norms: set[nn.Module]) -> None:
    """Put in place of each norm what it does beside normalising: timm's hold the activation."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in norms:
                has_act = isinstance(child, (BatchNormAct2d, FrozenBatchNormAct2d))
                setattr(parent, name, child.act if has_act else nn.Identity())


def _agree(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> bool:
    return all(
        bool((value - found[name]).abs().max() <= TOLERANCE * value.abs().max()) for name, value in expected.items()
    )
