"""Any timm model as a Detectron2 backbone, alone or under an FPN."""

from __future__ import annotations

import logging
from typing import Any

import timm
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from timm.layers import freeze_batch_norm_2d
from torch import nn

from nucleus.errors import InputError
from nucleus.modeling.pretrained import packaged_imagenet_weights, read_weights

STAGES = {4: "res2", 8: "res3", 16: "res4", 32: "res5"}  # stride in pixels -> Detectron2's name
logger = logging.getLogger(__name__)


class TimmBackbone(Backbone):
    """Feature maps of a timm model at strides 4, 8, 16 and 32, under Detectron2's names res2 to res5.

    Args:
        name: timm's name of the model.
        weights: "imagenet" (packaged), "" (random) or a local weights file, loaded by name.
        norm: "FrozenBN" or "BN".

    Raises:
        InputError: timm does not know the model, or it does not give these strides, or the weights do not fit.
    """

    def __init__(self, name: str, weights: str = "", norm: str = "FrozenBN") -> None:
        super().__init__()
        if not timm.is_model(name):
            near = timm.list_models(f"*{name.split('_')[0]}*")[:8]
            raise InputError(
                "MODEL.TIMM.NAME",
                expected="a model that timm knows",
                found=name,
                remedy=f"Near: {', '.join(near)}" if near else "See timm.list_models().",
            )
        network = timm.create_model(name, features_only=True, pretrained=False)
        info: Any = network.feature_info
        by_stride = dict(zip(info.reduction(), range(len(info.reduction())), strict=True))
        if not set(STAGES) <= set(by_stride):
            raise InputError(
                "MODEL.TIMM.NAME",
                expected="features at strides 4, 8, 16 and 32",
                found=f"{name} with strides {info.reduction()}",
            )
        self._levels = {STAGES[stride]: by_stride[stride] for stride in STAGES}
        self._out_features = list(self._levels)
        self._out_feature_strides = {STAGES[stride]: stride for stride in STAGES}
        self._out_feature_channels = {stage: info.channels()[level] for stage, level in self._levels.items()}
        self.features = network
        if weights:
            self._load(name, weights)
        if norm == "FrozenBN":
            # timm's own, since timm fuses activations into its norms, which Detectron2's conversion would drop.
            self.features = freeze_batch_norm_2d(network)
        elif norm != "BN":
            raise InputError("MODEL.TIMM.NORM", expected="FrozenBN or BN", found=norm)

    def _load(self, name: str, weights: str) -> None:
        state = packaged_imagenet_weights(name) if weights == "imagenet" else read_weights(weights)
        wanted = self.features.state_dict()
        fitting = {key: value for key, value in state.items() if key in wanted and value.shape == wanted[key].shape}
        missing = [key for key in wanted if key not in fitting and "num_batches" not in key]
        if not fitting:
            raise InputError(
                weights,
                expected=f"weights of timm's {name}",
                found=f"{len(state)} tensors, none of which fits by name and shape",
            )
        self.features.load_state_dict(fitting, strict=False)
        logger.info(
            "%s: %d of %d tensors loaded from %s; missing %s; left over %d",
            name,
            len(fitting),
            len(wanted),
            weights,
            missing[:5] or "none",
            len(state) - len(fitting),
        )

    @property
    def size_divisibility(self) -> int:
        """Images are padded to a multiple of this many pixels."""
        return 32

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Feature maps {"res2": (N, C2, H/4, W/4), ...} of normalised images (N, 3, H, W)."""
        maps = self.features(x)
        return {stage: maps[level] for stage, level in self._levels.items()}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each map."""
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """The timm model MODEL.TIMM.NAME alone."""
    return TimmBackbone(cfg.MODEL.TIMM.NAME, cfg.MODEL.TIMM.WEIGHTS, cfg.MODEL.TIMM.NORM)


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """The timm model MODEL.TIMM.NAME under a feature pyramid p2 to p6 (Lin et al. 2017, "Feature Pyramid Networks")."""
    bottom_up: nn.Module = build_timm_backbone(cfg, input_shape)
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
