"""The losses on images that are not trained on, measured the same way every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import get_detection_dataset_dicts
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from timm.layers import DropPath
from torch import nn

from nucleus.data.mapper import NucleusMapper
from nucleus.data.stream import VALIDATION, random_source
from nucleus.engine.evaluation_hook import EvaluationHook
from nucleus.engine.reseed import seed_everything
from nucleus.engine.training_step import autocast_dtype

# Layers that act in another way in training, beside the heads: statistics that move, and noise.
QUIET = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, DropPath)


class ValidationLoss(EvaluationHook):
    """Log `validation/LOSS` at every evaluation, the mean over fixed crops of fixed images.

    Detectron2's heads give losses in training mode alone, and sample their proposals at random; both hold here, but
    the sampling is seeded by the image, so that two evaluations differ by the weights only.

    Args:
        period: see EvaluationHook.
        model: without wrapper; its weights, statistics, gradients and modes stay as they are.
        records: of the catalog.
        mapper: gives a crop with targets, without photometric augmentation.
        seed: of the run.
        autocast: dtype of the forward pass, as in training; None for float32.
    """

    def __init__(
        self,
        period: int,
        model: nn.Module,
        records: Sequence[dict[str, Any]],
        mapper: NucleusMapper,
        seed: int,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__(period)
        self.model = model
        self.records = records
        self.mapper = mapper
        self.seed = seed
        self.autocast = autocast

    def act(self) -> None:
        """Measure and log; in the first process the mean over all of them."""
        own = self.measure(range(comm.get_rank(), len(self.records), comm.get_world_size()))
        by_image = [losses for part in comm.all_gather(own) for losses in part]
        means = {f"validation/{name}": float(np.mean([one[name] for one in by_image])) for name in by_image[0]}
        self.trainer.storage.put_scalars(smoothing_hint=False, **means)

    def measure(self, positions: Sequence[int]) -> list[dict[str, float]]:
        """The losses by name, and "total_loss", of each of some images."""
        device_type = next(self.model.parameters()).device.type
        measured = []
        # The heads log, too; what they log here is none of training's business.
        with (
            giving_losses(self.model),
            EventStorage(),
            torch.autocast(device_type, self.autocast, enabled=self.autocast is not None),
        ):
            for position in positions:
                source = random_source(self.seed, VALIDATION, position)
                sample = self.mapper(self.records[position], source)
                seed_everything(source)
                losses = {name: float(loss) for name, loss in self.model([sample]).items()}
                measured.append(losses | {"total_loss": sum(losses.values())})
        return measured


@contextmanager
def giving_losses(model: nn.Module) -> Iterator[None]:
    """Training mode without gradients, with moving statistics and noise switched off; then all modes as before."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.train()
        for module in model.modules():
            if isinstance(module, QUIET):
                module.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def build_validation_loss(cfg: CfgNode, model: nn.Module) -> ValidationLoss:
    """The hook for TEST.LOSS_IMAGES images, spread evenly over the first data set of DATASETS.TEST."""
    records = get_detection_dataset_dicts(cfg.DATASETS.TEST[0], filter_empty=False)
    chosen = np.linspace(0, len(records) - 1, min(cfg.TEST.LOSS_IMAGES, len(records))).round().astype(int)
    settings = NucleusMapper.from_config(cfg, is_train=True)
    settings |= {"scale_range": (1.0, 1.0), "flip_and_turn": False, "photometric": {}}
    autocast = autocast_dtype(cfg.SOLVER.AUTOCAST, cfg.MODEL.DEVICE)
    records = [records[i] for i in chosen]
    return ValidationLoss(cfg.TEST.EVAL_PERIOD, model, records, NucleusMapper(**settings), cfg.SEED, autocast)
