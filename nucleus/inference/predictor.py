"""A trained model that takes image arrays and gives nuclei."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import Backbone, build_model
from detectron2.structures import Instances
from torch import nn

import nucleus.modeling as nucleus_modeling  # registers the model parts
from nucleus.config import load_config
from nucleus.data.geometry import base_scale
from nucleus.errors import InputError
from nucleus.formats.image import to_rgb8
from nucleus.inference.fold_norms import fold_norms
from nucleus.inference.frames import Frame
from nucleus.inference.prediction import Prediction
from nucleus.inference.weights import FILES, load_trained_weights
from nucleus.modeling.nucleus_rcnn import NucleusRCNN
from nucleus.modeling.precision import computes_in_bfloat16
from nucleus.modeling.score_threshold import DEFAULT, read_score_threshold
from nucleus.zoo.files import choose_files

__all__ = ["Model", "load_model"]

assert nucleus_modeling
SMALLEST_SCALE, LARGEST_SCALE = 0.25, 8.0  # of an image for the network
PROBE_SIDE = 64  # pixels of the image on which a folded network is compared with the whole one
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Model:
    """Finds nuclei in arrays. Made by `load_model`.

    Args:
        network: in evaluation mode, on its device; its masks are BoxMasks.
        short_edge: shorter side, in pixels, to which smaller images are enlarged.
        bgr: the network was trained on BGR in place of RGB.
        threshold: lowest score, in [0, 1], of a detection that becomes a nucleus.
        max_detections: most detections that it gives of one image.
        scale: factor by which every image is enlarged for the network, or made smaller; None: as in training, by
            `short_edge`.
    """

    def __init__(
        self,
        network: NucleusRCNN,
        *,
        short_edge: int,
        bgr: bool,
        threshold: float,
        max_detections: int,
        scale: float | None = None,
    ) -> None:
        self.network = network
        self.short_edge = short_edge
        self.bgr = bgr
        self.threshold = threshold
        self.max_detections = max_detections
        self.scale = scale

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.network.device

    def scale_of(self, height: int, width: int) -> float:
        """Factor by which an image of H x W pixels is enlarged for the network: `scale`, else as in training."""
        return base_scale(height, width, self.short_edge) if self.scale is None else self.scale

    def predict(self, image: np.ndarray, *, scale: float | None = None) -> Prediction:
        """Find the nuclei of one image; see `predict_batch`."""
        return self.predict_batch([image], scale=scale)[0]

    @torch.inference_mode()
    def predict_batch(
        self, images: Sequence[np.ndarray], *, scale: float | None = None, frames: Sequence[Frame] | None = None
    ) -> list[Prediction]:
        """Find the nuclei of several images in one pass of the network.

        Images of different sizes are padded to the largest of them, which takes its time and can move detections at
        their borders by fractions of a pixel: put images of one size into a batch.

        Args:
            images: numbers (H, W) or (H, W, 3), grey or RGB. Those that are not uint8 are rescaled by percentiles of
                the image (`nucleus.formats.rescale`); rescale a tile by those of its whole image before.
            scale: factor by which all images are enlarged; None for each image's own `scale_of`.
            frames: where the images are parts of larger ones, the pixels that their frames read; in place of `scale`.

        Returns:
            In the same order; label image, masks and boxes are at the size of the image as given, or in the tile of its
            frame.

        Raises:
            ValueError: an array is not (H, W) or (H, W, 3), or has no pixels.
        """
        for image in images:
            if image.size == 0 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
                raise ValueError(f"expected an image (H, W) or (H, W, 3) with pixels, found shape {image.shape}")
        if not images:
            return []
        if frames is None:
            records: list[dict[str, Any]] = [
                {"image": self._prepare(image, scale), "height": image.shape[0], "width": image.shape[1]}
                for image in images
            ]
        else:
            records = [
                {"image": self._to_tensor(frame.sample(to_rgb8(image))), "height": frame.tile.height,
                 "width": frame.tile.width, "to_image": frame.to_tile()}
                for image, frame in zip(images, frames, strict=True)
            ]  # fmt: skip
        return [self._prediction(output["instances"]) for output in self.network(records)]

    def _prepare(self, image: np.ndarray, scale: float | None) -> torch.Tensor:
        """As `nucleus.data.mapper` does for a test: uint8 (3, h, w)."""
        pixels = to_rgb8(image)
        height, width = pixels.shape[:2]
        factor = self.scale_of(height, width) if scale is None else scale
        if factor != 1.0:
            size = max(1, round(width * factor)), max(1, round(height * factor))
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        return self._to_tensor(pixels)

    def _to_tensor(self, pixels: np.ndarray) -> torch.Tensor:
        if self.bgr:
            pixels = pixels[..., ::-1]
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def _prediction(self, found: Instances) -> Prediction:
        return Prediction(found.pred_masks, found.scores.numpy(), self.threshold)


class LowPrecision(nn.Module):
    """A backbone that computes in a lower precision and gives its feature maps in float32.

    Args:
        backbone: gives a dict of feature maps.
        dtype: of its convolutions.
    """

    def __init__(self, backbone: Backbone, dtype: torch.dtype) -> None:
        super().__init__()
        self.backbone = backbone
        self.dtype = dtype
        self.size_divisibility = backbone.size_divisibility
        self.padding_constraints = backbone.padding_constraints

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Feature maps, float32, of images (N, 3, H, W)."""
        with torch.autocast(images.device.type, self.dtype):
            maps = self.backbone(images)
        return {name: one.float() for name, one in maps.items()}


def load_model(
    name: str | None = None,
    *,
    weights: str | Path | None = None,
    config_file: str | Path | None = None,
    device: str | None = None,
    threshold: float | None = None,
    precision: str | None = None,
    views: int | None = None,
    expand: float | None = None,
    scale: float | None = None,
) -> Model:
    """Load a trained model for prediction.

    Args:
        name: of a model of the zoo (`nucleus zoo` lists them), such as "lite", which is also what comes without any
            argument.
        weights: in its place a checkpoint (.pth, .pt, .safetensors); the averaged weights where it holds them.
        config_file: that the checkpoint was trained with; None for config.yaml beside it, which every training writes.
        device: "cpu", "cuda", "cuda:1"; None for MODEL.DEVICE, or the CPU where there is no GPU.
        threshold: lowest score, in [0, 1], of a nucleus; None for TEST.SCORE_THRESHOLD where that is set, else for the
            one recorded with the weights, else 0.5.
        precision: "float32", "bfloat16" or "float16" of the backbone, whose feature maps go on in float32: in lower
            precision throughout, boxes and masks are not placed to a fraction of a pixel. None for SOLVER.AUTOCAST
            where the device is fast with it, else float32.
        views: in how many symmetries each image is seen, 1, 2, 4 or 8, for as many times the work
            (`nucleus.modeling.views`); None for TEST.VIEWS.
        expand: pixels of the image by which each nucleus is drawn wider all around, or narrower where negative, from
            -20 to 20; None for TEST.EXPAND.
        scale: factor by which every image is enlarged for the network, or made smaller, from 0.25 to 8; None for
            INPUT.UPSCALE_SHORT_EDGE, which enlarges small images.

    Raises:
        InputError: there is no model of this name, a file is missing or broken, config and weights do not fit, the
            model gives no masks, there is no such device, or the threshold is not in [0, 1], or views, expand or scale
            are out of range.
    """
    if scale is not None and not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        raise InputError("scale", expected=f"a factor from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g}", found=f"{scale:g}")
    files = choose_files(name, weights, config_file)
    path = files.weights
    cfg = _config(path, files.config)
    on = _device(cfg.MODEL.DEVICE if device is None else device, asked=device is not None)
    cfg.MODEL.DEVICE = str(on)
    cfg.TEST.VIEWS = cfg.TEST.VIEWS if views is None else views
    cfg.TEST.EXPAND = cfg.TEST.EXPAND if expand is None else expand
    layout = torch.channels_last if cfg.MODEL.CHANNELS_LAST else torch.contiguous_format
    network = build_model(cfg).to(memory_format=layout)
    if not isinstance(network, NucleusRCNN) or not cfg.MODEL.MASK_ON:
        raise InputError("MODEL.META_ARCHITECTURE", expected="NucleusRCNN or GeneralizedRCNN, with MODEL.MASK_ON True",
                         found=cfg.MODEL.META_ARCHITECTURE)  # fmt: skip
    load_trained_weights(network, path)
    network.eval().requires_grad_(False)
    probe = torch.linspace(-1, 1, 3 * PROBE_SIDE**2, device=on).view(1, 3, PROBE_SIDE, PROBE_SIDE)
    network.backbone, _ = fold_norms(network.backbone, probe)
    dtype = _fast_dtype(cfg.SOLVER.AUTOCAST, on) if precision is None else _named_dtype(precision, on)
    if dtype != torch.float32:
        network.backbone = LowPrecision(network.backbone, dtype)
    return Model(
        network,
        short_edge=cfg.INPUT.UPSCALE_SHORT_EDGE,
        bgr=cfg.INPUT.FORMAT == "BGR",
        threshold=_threshold(cfg, path) if threshold is None else _in_range("threshold", threshold),
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        scale=scale,
    )


def _config(weights: str, config_file: Path) -> CfgNode:
    cfg = load_config(config_file)
    if cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN":  # the same network and parameters
        cfg.MODEL.META_ARCHITECTURE = "NucleusRCNN"
    if Path(weights).suffix in FILES:  # these hold all weights: nothing to start from
        cfg.MODEL.TIMM.WEIGHTS = ""
    if "FAST_CONVOLUTIONS" in cfg.MODEL:  # norms are folded once and for all here
        cfg.MODEL.FAST_CONVOLUTIONS = False
    return cfg


def _device(name: str, *, asked: bool) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError("device", expected="cpu, cuda or cuda:NUMBER", found=name) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        if asked:
            raise InputError("device", expected="a GPU that torch can use", found="none", remedy="Use cpu.")
        return torch.device("cpu")
    return device


def _threshold(cfg: CfgNode, weights: str) -> float:
    if cfg.TEST.SCORE_THRESHOLD >= 0:
        return _in_range("TEST.SCORE_THRESHOLD", cfg.TEST.SCORE_THRESHOLD)
    recorded = read_score_threshold(weights)
    return DEFAULT if recorded is None else recorded


def _in_range(where: str, threshold: float) -> float:
    if not 0 <= threshold <= 1:
        raise InputError(where, expected="a score from 0 to 1", found=str(threshold))
    return float(threshold)


def _named_dtype(precision: str, device: torch.device) -> torch.dtype:
    known = [name for name in PRECISIONS if not (name == "float16" and device.type == "cpu")]
    if precision not in known:
        raise InputError("precision", expected=f"{', '.join(known)} on {device.type}", found=precision)
    return PRECISIONS[precision]


def _fast_dtype(name: str, device: torch.device) -> torch.dtype:
    """SOLVER.AUTOCAST, but float32 where the device has no instructions for it."""
    if name == "float16":
        return torch.float32 if device.type == "cpu" else torch.float16
    return torch.bfloat16 if name in ("bfloat16", "auto") and computes_in_bfloat16(device) else torch.float32
