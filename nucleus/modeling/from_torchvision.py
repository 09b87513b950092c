"""torchvision's Mask R-CNN checkpoints under Detectron2's names, with the same numbers coming out.

For `torchvision.models.detection.maskrcnn_resnet50_fpn` and other ResNets of the same layout. What differs, and what is
done about it:

- names: `RENAMES`. torchvision before 0.14 wrote a convolution with ".weight", later versions with ".0.weight".
- the ResNet's stride of 2 stands in the 3x3 convolution, not in the first 1x1: MODEL.RESNETS.STRIDE_IN_1X1 must be
  False, which no file of weights can change.
- pixels: torchvision takes RGB in [0, 1], subtracts a mean and divides by a standard deviation. The first convolution
  takes the model's own order and scale into its weights; the means agree (Detectron2's are torchvision's, times 255).
- norms: torchvision's COCO checkpoints were trained with an epsilon of 0, Detectron2's frozen norms add 1e-5 to the
  variance. The scale makes up for it.
- classes: torchvision counts the background first, Detectron2 last, and without a box or mask of its own.
- anchors: torchvision rounds their corners to whole pixels and pools with `ROIAlign` of 2 samples, not aligned, where
  Detectron2's defaults do neither; training makes up for that.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from nucleus.errors import InputError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1]
NORM_EPS = 0.0  # torchvision sets it for its COCO checkpoints (`overwrite_eps`)
DETECTRON2_EPS = 1e-5
MARK = "backbone.body.conv1.weight"  # a tensor that every such checkpoint has, and nothing else
STEM = "backbone.bottom_up.stem.conv1.weight"

# torchvision's name -> Detectron2's; a number in braces is that group of the pattern plus what stands behind it.
RENAMES: tuple[tuple[str, str], ...] = (
    (r"backbone\.body\.conv1\.", "backbone.bottom_up.stem.conv1."),
    (r"backbone\.body\.bn1\.", "backbone.bottom_up.stem.conv1.norm."),
    (r"backbone\.body\.layer(\d)\.(\d+)\.conv(\d)\.", "backbone.bottom_up.res{1+1}.{2}.conv{3}."),
    (r"backbone\.body\.layer(\d)\.(\d+)\.bn(\d)\.", "backbone.bottom_up.res{1+1}.{2}.conv{3}.norm."),
    (r"backbone\.body\.layer(\d)\.(\d+)\.downsample\.0\.", "backbone.bottom_up.res{1+1}.{2}.shortcut."),
    (r"backbone\.body\.layer(\d)\.(\d+)\.downsample\.1\.", "backbone.bottom_up.res{1+1}.{2}.shortcut.norm."),
    (r"backbone\.fpn\.inner_blocks\.(\d)\.(?:0\.)?", "backbone.fpn_lateral{1+2}."),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.(?:0\.)?", "backbone.fpn_output{1+2}."),
    (r"rpn\.head\.conv\.(?:0\.0\.)?", "proposal_generator.rpn_head.conv."),
    (r"rpn\.head\.cls_logits\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"rpn\.head\.bbox_pred\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"roi_heads\.box_head\.fc6\.", "roi_heads.box_head.fc1."),
    (r"roi_heads\.box_head\.fc7\.", "roi_heads.box_head.fc2."),
    (r"roi_heads\.box_predictor\.cls_score\.", "roi_heads.box_predictor.cls_score."),
    (r"roi_heads\.box_predictor\.bbox_pred\.", "roi_heads.box_predictor.bbox_pred."),
    (r"roi_heads\.mask_head\.mask_fcn(\d)\.", "roi_heads.mask_head.mask_fcn{1}."),
    (r"roi_heads\.mask_head\.(\d)\.0\.", "roi_heads.mask_head.mask_fcn{1+1}."),
    (r"roi_heads\.mask_predictor\.conv5_mask\.", "roi_heads.mask_head.deconv."),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.", "roi_heads.mask_head.predictor."),
)
logger = logging.getLogger(__name__)


def is_torchvision(state: Mapping[str, Any]) -> bool:
    """Whether a state dict is that of a torchvision detector on a ResNet."""
    return MARK in state


def from_torchvision(
    state: Mapping[str, torch.Tensor], model: nn.Module, path: str = "MODEL.WEIGHTS", norm_eps: float = NORM_EPS
) -> dict[str, torch.Tensor]:
    """Convert a checkpoint.

    Args:
        state: of `maskrcnn_resnet50_fpn` with any number of classes; tensors whose shape does not fit the model, such
            as those of COCO's 91 classes, are left for the caller to pass over.
        model: a GeneralizedRCNN with a ResNet and FPN, whose pixel order, mean and scale the weights are made for.
        path: of the checkpoint, for messages.
        norm_eps: epsilon of the batch norms of the network that the weights are of: 0 for torchvision's COCO
            checkpoints and what was trained from them, 1e-5 for training from ImageNet weights.

    Returns:
        State dict in Detectron2's names.

    Raises:
        InputError: the model is another network, or has the stride in the 1x1 convolution; the checkpoint is of
            another layout, such as maskrcnn_resnet50_fpn_v2.
    """
    _check_model(model, path)
    converted: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            converted[renamed(name, path)] = value
    for scale in [name for name in converted if name.endswith("norm.weight")]:
        variance = converted[f"{scale.removesuffix('weight')}running_var"].double()
        factor = ((variance + DETECTRON2_EPS) / (variance + norm_eps)).sqrt()
        converted[scale] = (converted[scale].double() * factor).to(converted[scale].dtype)
    converted[STEM] = _stem_for(model, converted[STEM])
    _background_last(converted)
    logger.info("%s: %d tensors of torchvision under Detectron2's names. Layers with an output for each class fit only "
                "a model with the same number of classes; else they keep their initial values.",
                path, len(converted))  # fmt: skip
    return converted


def renamed(name: str, path: str = "") -> str:
    """Detectron2's name of a torchvision tensor.

    Raises:
        InputError: a name that `maskrcnn_resnet50_fpn` does not have.
    """
    for pattern, target in RENAMES:
        match = re.match(pattern + r"(?=(?:weight|bias|running_mean|running_var)$)", name)
        if match is not None:
            return _filled(target, match.groups()) + name[match.end() :]
    raise InputError(path or "a torchvision checkpoint", expected="tensors of maskrcnn_resnet50_fpn",
                     found=f"{name}, which it does not have",
                     remedy="The v2 models have another layout and cannot be loaded.")  # fmt: skip


def _filled(target: str, numbers: Sequence[str]) -> str:
    """A target of RENAMES with the numbers of the name in place of the braces."""
    return re.sub(r"\{(\d)(?:\+(\d))?\}", lambda one: str(int(numbers[int(one[1]) - 1]) + int(one[2] or 0)), target)


def _check_model(model: nn.Module, path: str) -> None:
    bottom_up = getattr(getattr(model, "backbone", None), "bottom_up", None)
    try:
        first = bottom_up.res3[0].conv1  # type: ignore[union-attr]
    except (AttributeError, TypeError, IndexError):
        raise InputError(path, expected="a config with a ResNet and FPN for these weights of torchvision",
                         found="a model with another backbone",
                         remedy="Use configs/mask_rcnn_R50_FPN.yaml.") from None  # fmt: skip
    if tuple(first.stride) != (1, 1):
        raise InputError(path, expected="a model with the stride in the 3x3 convolutions, as torchvision has it",
                         found="it in the 1x1 convolutions",
                         remedy="Add MODEL.RESNETS.STRIDE_IN_1X1 False to the command.")  # fmt: skip


def _stem_for(model: Any, weight: torch.Tensor) -> torch.Tensor:
    """The first convolution (64, 3, 7, 7) for the model's order, mean and scale of pixels in [0, 255]."""
    mean, std = 255 * torch.tensor(MEAN), 255 * torch.tensor(STD)
    if model.input_format == "BGR":
        mean, std, weight = mean.flip(0), std.flip(0), weight.flip(1)
    own_mean, own_std = model.pixel_mean.flatten().cpu(), model.pixel_std.flatten().cpu()
    if not torch.allclose(own_mean, mean, atol=0.5):
        logger.warning("MODEL.PIXEL_MEAN is %s, but torchvision's weights were trained with %s (%s)",
                       own_mean.tolist(), mean.tolist(), model.input_format)  # fmt: skip
    return weight * (own_std / std).to(weight.dtype)[None, :, None, None]


def _background_last(state: dict[str, torch.Tensor]) -> None:
    """Torchvision's class 0 is the background: last in the scores, and without box and mask."""
    for kind in ("weight", "bias"):
        scores, boxes, masks = (
            f"roi_heads.{name}.{kind}" for name in ("box_predictor.cls_score", "box_predictor.bbox_pred",
                                                    "mask_head.predictor")
        )  # fmt: skip
        if scores in state:
            state[scores] = state[scores].roll(-1, 0)
        if boxes in state:
            state[boxes] = state[boxes][4:]
        if masks in state:
            state[masks] = state[masks][1:]
