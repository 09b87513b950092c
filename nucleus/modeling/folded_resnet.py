"""Detectron2's ResNet under a feature pyramid, with frozen batch norms folded into the convolutions."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN
from detectron2.modeling.backbone.fpn import build_resnet_fpn_backbone

from nucleus.modeling.fast_convolutions import speed_up_convolutions


@BACKBONE_REGISTRY.register()
def build_folded_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Detectron2's "build_resnet_fpn_backbone" by its keys, with its parameter names; see `fast_convolutions`."""
    backbone = build_resnet_fpn_backbone(cfg, input_shape)
    if cfg.MODEL.FAST_CONVOLUTIONS:
        speed_up_convolutions(backbone)
    return backbone
