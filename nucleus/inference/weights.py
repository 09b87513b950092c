"""Loading trained weights for prediction or evaluation."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from nucleus.errors import InputError
from nucleus.modeling.checkpoint_reader import CheckpointReader
from nucleus.modeling.mask_scoring import PARAMETERS
from nucleus.modeling.pretrained import read_weights
from nucleus.zoo.files import weights_file

FILES = (".pth", ".pt", ".safetensors")
logger = logging.getLogger(__name__)


def load_trained_weights(model: nn.Module, path: str) -> None:
    """Load weights into a model; the averaged ones where the checkpoint holds them.

    Args:
        model: that the weights were trained with, in this class or in GeneralizedRCNN.
        path: .pth, .pt, .safetensors or nucleus://NAME, all of whose tensors must fit; or what Detectron2's
            checkpointer takes (its model zoo), where those that fit are loaded. Half precision becomes the model's. A
            mask scoring branch that the model lacks is left out: without it, all is as it was before it was trained.

    Raises:
        InputError: there is no such file or model, or it is broken, or of another model.
    """
    if not path:
        raise InputError("MODEL.WEIGHTS", expected="a trained checkpoint", found="nothing",
                         remedy="Add MODEL.WEIGHTS PATH to the command.")  # fmt: skip
    path = weights_file(path)
    if "://" not in path and not Path(path).is_file():
        raise InputError(path, expected="a trained checkpoint", found="nothing there")
    if Path(path).suffix not in FILES:
        CheckpointReader(model).load(path)
        return
    state = read_weights(path)
    branch = {name for name in state.keys() - model.state_dict().keys() if name.startswith(PARAMETERS)}
    if branch:
        logger.warning("%s: mask scoring is left out, so scores are higher; the recorded score threshold is for scores "
                       "with it (set TEST.SCORE_THRESHOLD)", path)  # fmt: skip
    try:
        model.load_state_dict({name: value for name, value in state.items() if name not in branch})
    except RuntimeError as error:
        raise InputError(path, expected="weights of the model that the config describes",
                         found=" ".join(str(error).split())[:300],
                         remedy="Give the config that the checkpoint was trained with (config.yaml beside it).",
        ) from error  # fmt: skip
    logger.info("%s loaded", path)
