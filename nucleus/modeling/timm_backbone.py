"""Any timm model as a Detectron2 backbone, alone or under an FPN."""

from __future__ import annotations

import logging
from collections.abc import Iterable
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
from nucleus.modeling.fast_convolutions import speed_up_convolutions
from nucleus.modeling.pretrained import packaged_imagenet_weights, read_weights

PROBE = (64, 96)  # pixels: two sides, so that a map that is turned or of one fixed size shows
PREFIXES = ("model.", "module.", "backbone.", "bottom_up.", "features.", "body.", "model.")
STAGES = {4: "res2", 8: "res3", 16: "res4", 32: "res5"}  # stride in pixels -> Detectron2's name
logger = logging.getLogger(__name__)


class TimmBackbone(Backbone):
    """Feature maps of a timm model at strides 4, 8, 16 and 32, under Detectron2's names res2 to res5.

    Args:
        name: timm's name of the model.
        weights: "imagenet" (packaged), "" (random) or a local weights file of timm, torchvision (where the names agree,
            as for ResNets) or an own checkpoint, loaded by name.
        norm: "FrozenBN" or "BN"; a model without batch norms takes either.

    Raises:
        InputError: timm does not know the model, or it does not give these strides, or it takes one size of image only,
            or the weights do not fit.
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
        network = _create(name)
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
        # Transformers such as Swin give maps (N, H, W, C).
        self._channels_last = str(getattr(network, "output_fmt", "NCHW")).rpartition(".")[2] == "NHWC"
        self.features = network
        self._check_maps(name)
        if weights:
            self._load(name, weights)
        if norm == "FrozenBN":
            # timm's own, since timm fuses activations into its norms, which Detectron2's conversion would drop.
            # Layer norms and group norms have no statistics to freeze and stay as they are.
            self.features = freeze_batch_norm_2d(network)
        elif norm != "BN":
            raise InputError("MODEL.TIMM.NORM", expected="FrozenBN or BN", found=norm)

    @torch.no_grad()
    def _check_maps(self, name: str) -> None:
        """Run once at a size that no model was made for: some models take one size only."""
        height, width = PROBE
        self.features.eval()  # so that no statistics of batch norms change
        try:
            shapes = {stage: tuple(value.shape[1:]) for stage, value in self(torch.zeros(1, 3, height, width)).items()}
        except (AssertionError, RuntimeError, ValueError) as error:
            raise InputError(
                "MODEL.TIMM.NAME",
                expected="a model that takes images of any size",
                found=f"{name}: {' '.join(str(error).split())[:160]}",
            ) from error
        self.features.train()
        promised = {
            stage: (spec.channels, height // spec.stride, width // spec.stride)
            for stage, spec in self.output_shape().items()
        }
        if shapes != promised:
            raise InputError(
                "MODEL.TIMM.NAME", expected=f"feature maps (C, H, W) {promised}", found=f"{name}: {shapes}"
            )

    def _load(self, name: str, weights: str) -> None:
        state = packaged_imagenet_weights(name) if weights == "imagenet" else read_weights(weights)
        wanted = self.features.state_dict()
        names = names_in_file(wanted, state)
        fitting = {key: state[other] for key, other in names.items() if state[other].shape == wanted[key].shape}
        missing = [key for key in wanted if key not in fitting and "num_batches" not in key]
        used = {names[key] for key in fitting}
        left_over = [key for key in state if key not in used]
        if not fitting:
            raise InputError(
                weights,
                expected=f"weights of timm's {name}",
                found=f"{len(state)} tensors, none of which fits by name and shape",
            )
        self.features.load_state_dict(fitting, strict=False)
        logger.info(
            "%s: %d of %d tensors loaded from %s; missing %d: %s; left over %d: %s",
            name,
            len(fitting),
            len(wanted),
            weights,
            len(missing),
            ", ".join(missing[:5]) or "none",
            len(left_over),
            ", ".join(left_over[:5]) or "none",
        )

    @property
    def size_divisibility(self) -> int:
        """Images are padded to a multiple of this many pixels."""
        return 32

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Feature maps {"res2": (N, C2, H/4, W/4), ...} of normalised images (N, 3, H, W)."""
        maps = self.features(x)
        found = {stage: maps[level] for stage, level in self._levels.items()}
        if self._channels_last:
            return {stage: value.permute(0, 3, 1, 2).contiguous() for stage, value in found.items()}
        return found

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each map."""
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }


def names_in_file(wanted: Iterable[str], stored: Iterable[str]) -> dict[str, str]:
    """Find the tensors of a feature extractor in a file written under other names of the same tensors.

    timm's `features_only` takes a model apart: "stages.0.blocks" of the whole model becomes "stages_0.blocks", and
    some extractors put "model." or "body." before every name. A file may have prefixes of its own, such as
    "backbone.bottom_up." of a Detectron2 checkpoint. Neither changes what follows, or its order.

    Args:
        wanted: names in the feature extractor.
        stored: names in the file.

    Returns:
        Wanted name -> name in the file, of those that are there.
    """
    by_plain_name = {_plain_name(name): name for name in stored}
    found = {name: by_plain_name.get(_plain_name(name)) for name in wanted}
    return {name: other for name, other in found.items() if other is not None}


def _plain_name(name: str) -> str:
    for prefix in PREFIXES:  # each may be inside the one before
        name = name.removeprefix(prefix)
    return name.replace(".", "_")


def _create(name: str) -> nn.Module:
    """A timm feature extractor; of a transformer, one that takes images of any size where timm can make it so."""
    ways: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False})
    for any_size in ways:
        try:
            return timm.create_model(name, features_only=True, pretrained=False, **any_size)
        except TypeError:  # this model's constructor has no such argument
            continue
    return timm.create_model(name, features_only=True, pretrained=False)


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """The timm model MODEL.TIMM.NAME alone."""
    backbone = TimmBackbone(cfg.MODEL.TIMM.NAME, cfg.MODEL.TIMM.WEIGHTS, cfg.MODEL.TIMM.NORM)
    if cfg.MODEL.FAST_CONVOLUTIONS:
        speed_up_convolutions(backbone)
    return backbone


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
