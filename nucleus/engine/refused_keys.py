"""Keys of a config that would be left out in silence, and are refused."""

from __future__ import annotations

from operator import attrgetter

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import META_ARCH_REGISTRY

from nucleus.data.catalog import check_data_sets
from nucleus.errors import InputError
from nucleus.modeling.nucleus_rcnn import NucleusRCNN

# Keys of Detectron2 that its own mapper, loader and trainer read, which are not used here.
NOT_READ = (
    *("INPUT.CROP.ENABLED", "INPUT.RANDOM_FLIP", "INPUT.MIN_SIZE_TRAIN", "INPUT.MAX_SIZE_TRAIN"),
    *("INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST", "DATALOADER.SAMPLER_TRAIN", "TEST.AUG.ENABLED"),
)
# Keys without effect on models other than NucleusRCNN, and the values with which that is right.
WITHOUT_EFFECT = {
    "TEST.VIEWS": 1,
    "TEST.EXPAND": 0.0,
    "TEST.MASK_STABILITY": False,
    "TEST.BOX_VOTING": 0.0,
    "MODEL.ROI_MASK_HEAD.MARGIN": 0.0,
    "MODEL.ROI_MASK_HEAD.SCORING": False,
}


def check_model_keys(cfg: CfgNode) -> None:
    """Refuse what the model and what reads its images would leave out.

    Raises:
        InputError: a key of NOT_READ is set, or one of WITHOUT_EFFECT for an architecture that does not know it; or
            the channels have another order than RGB and BGR.
    """
    defaults = get_cfg()
    for key in NOT_READ:
        default, found = attrgetter(key)(defaults), attrgetter(key)(cfg)
        if found != default:
            raise InputError(key, expected=f"{default}: nothing here reads it", found=str(found),
                             remedy="What is read stands in nucleus/config.py.")  # fmt: skip
    if cfg.INPUT.FORMAT not in ("RGB", "BGR"):
        raise InputError("INPUT.FORMAT", expected="RGB or BGR", found=cfg.INPUT.FORMAT)
    given = [key for key, plain in WITHOUT_EFFECT.items() if attrgetter(key)(cfg) != plain]
    if given and not issubclass(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), NucleusRCNN):
        raise InputError("MODEL.META_ARCHITECTURE", expected=f"NucleusRCNN with {given[0]}",
                         found=cfg.MODEL.META_ARCHITECTURE,
                         remedy=f"Set it, or {given[0]} {WITHOUT_EFFECT[given[0]]}.")  # fmt: skip


def check_training_keys(cfg: CfgNode) -> None:
    """Refuse what the trainer would leave out, and what it would fail on later.

    Raises:
        InputError: there is such a key, or a data set that is not registered or not there.
    """
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        raise InputError("DATALOADER.FILTER_EMPTY_ANNOTATIONS", expected="False: images without nuclei are kept",
                         found="True")  # fmt: skip
    if cfg.MODEL.ROI_MASK_HEAD.SCORING and cfg.INPUT.MASK_FORMAT != "label":
        raise InputError("INPUT.MASK_FORMAT", expected="label with MODEL.ROI_MASK_HEAD.SCORING",
                         found=cfg.INPUT.MASK_FORMAT)  # fmt: skip
    if cfg.SOLVER.CHECKPOINT_PERIOD < 1:
        raise InputError("SOLVER.CHECKPOINT_PERIOD", expected="1 or more", found=str(cfg.SOLVER.CHECKPOINT_PERIOD))
    if cfg.TEST.PATIENCE and not cfg.TEST.EVAL_PERIOD:
        raise InputError("TEST.PATIENCE", expected="0 without evaluations while training",
                         found=str(cfg.TEST.PATIENCE), remedy="Set TEST.EVAL_PERIOD, too.")  # fmt: skip
    if cfg.TEST.PRECISE_BN.ENABLED:
        raise InputError(
            "TEST.PRECISE_BN.ENABLED",
            expected="False",
            found="True",
            remedy="The average of the weights (SOLVER.EMA_DECAY) averages the statistics, too.",
        )
    if cfg.SOLVER.AMP.ENABLED:
        raise InputError(
            "SOLVER.AMP.ENABLED", expected="False", found="True", remedy='Set SOLVER.AUTOCAST "float16" instead.'
        )
    if cfg.SOLVER.OPTIMIZER == "AdamW" and cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        raise InputError("SOLVER.CLIP_GRADIENTS.ENABLED", expected="False with AdamW", found="True",
                         remedy="Set SOLVER.CLIP_TOTAL_NORM, which clips for every optimizer.")  # fmt: skip
    for key, value in {"BIAS_LR_FACTOR": 1, "WEIGHT_DECAY_NORM": 0, "WEIGHT_DECAY_BIAS": 0}.items():
        if cfg.SOLVER.OPTIMIZER == "AdamW" and (cfg.SOLVER[key] or 0) != value:
            raise InputError(f"SOLVER.{key}", expected=f"{value} with AdamW", found=str(cfg.SOLVER[key]))
    if cfg.SOLVER.ACCUMULATE < 1:
        raise InputError("SOLVER.ACCUMULATE", expected="1 or more", found=str(cfg.SOLVER.ACCUMULATE))
    for key in ("TRAIN", "TEST"):
        check_data_sets(f"DATASETS.{key}", cfg.DATASETS[key])
