"""Detectron2's trainer with nucleus's data, evaluator, optimizer, averaging and mixed precision."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, SimpleTrainer, hooks
from detectron2.solver.build import get_default_optimizer_params
from torch import nn

from nucleus.data.loader import build_test_loader, build_train_loader
from nucleus.engine.ema import EmaHook, build_ema
from nucleus.errors import InputError
from nucleus.evaluation.evaluator import NucleusEvaluator
from nucleus.modeling.pretrained import read_weights

logger = logging.getLogger(__name__)


class TrainingStep(SimpleTrainer):
    """One training step with optional mixed precision and clipping of the whole gradient, on any device.

    Detectron2's AMPTrainer is for CUDA's float16; bfloat16 has float32's range and needs no loss scaling. Its
    CLIP_GRADIENTS clips parameter by parameter, which turns the direction of the step; this clips the norm over all.

    Args:
        model: gives a dict of losses in training mode.
        data_loader: endless batches.
        optimizer: over the model's parameters.
        autocast: dtype of the forward pass, None for float32 throughout.
        clip_norm: largest 2-norm of the whole gradient; 0 for no limit.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Any,
        optimizer: torch.optim.Optimizer,
        autocast: torch.dtype | None = None,
        clip_norm: float = 0.0,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.autocast = autocast
        self.clip_norm = clip_norm

    def run_step(self) -> None:
        """Forward, backward, clip, step."""
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        device_type = next(self.model.parameters()).device.type
        with torch.autocast(device_type, self.autocast, enabled=self.autocast is not None):
            losses = self.model(data)
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self._write_metrics(losses, data_time)
        self.optimizer.step()


class NucleusTrainer(DefaultTrainer):
    """Trains, checkpoints and evaluates what a config describes."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__(cfg)
        self._trainer: SimpleTrainer = TrainingStep(
            self.model, self.data_loader, self.optimizer, _dtype(cfg.SOLVER.AUTOCAST), cfg.SOLVER.CLIP_TOTAL_NORM
        )

    def build_hooks(self) -> list[HookBase]:
        """Detectron2's hooks, and the average of the weights, which is then what is evaluated."""
        found = super().build_hooks()
        self.ema = None
        if self.cfg.SOLVER.EMA_DECAY:
            self.ema = build_ema(self._bare_model(), self.cfg.SOLVER.EMA_DECAY)
            self.checkpointer.add_checkpointable("ema", self.ema)
            found.insert(0, EmaHook(self.ema, self._bare_model()))  # before anything evaluates or saves
        for hook in found:
            if isinstance(hook, hooks.EvalHook):
                hook._func = self._evaluate
        return found

    def _evaluate(self) -> dict[str, Any]:
        model = self.model if self.ema is None else self.ema.module
        self._last_eval_results = self.test(self.cfg, model)
        return self._last_eval_results

    def _bare_model(self) -> nn.Module:
        model: nn.Module = self.model
        return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        """See `nucleus.data.loader`."""
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """See `nucleus.data.loader`."""
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> NucleusEvaluator:
        """All scores of a data set, written to OUTPUT_DIR/evaluation/DATASET."""
        return NucleusEvaluator(
            dataset_name,
            str(Path(cfg.OUTPUT_DIR) / "evaluation" / dataset_name),
            score_threshold=cfg.TEST.SCORE_THRESHOLD,
            max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
            panels=cfg.TEST.PANELS,
        )

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """SGD as Detectron2 builds it, or AdamW (Loshchilov and Hutter 2019) without decay of norms and biases."""
        if cfg.SOLVER.OPTIMIZER == "SGD":
            return super().build_optimizer(cfg, model)
        if cfg.SOLVER.OPTIMIZER != "AdamW":
            raise InputError("SOLVER.OPTIMIZER", expected="SGD or AdamW", found=cfg.SOLVER.OPTIMIZER)
        parameters = get_default_optimizer_params(
            model, base_lr=cfg.SOLVER.BASE_LR, weight_decay_norm=0.0, weight_decay_bias=0.0
        )
        return torch.optim.AdamW(parameters, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY)


def load_trained_weights(model: nn.Module, cfg: CfgNode) -> None:
    """Load MODEL.WEIGHTS for evaluation or prediction; the averaged weights where the checkpoint holds them.

    Raises:
        InputError: MODEL.WEIGHTS names no file, or one that is broken, or that is of another model.
    """
    path = cfg.MODEL.WEIGHTS
    if not path:
        raise InputError(
            "MODEL.WEIGHTS",
            expected="a trained checkpoint",
            found="nothing",
            remedy="Add MODEL.WEIGHTS PATH to the command.",
        )
    if "://" not in path and not Path(path).is_file():
        raise InputError(path, expected="a trained checkpoint", found="nothing there")
    if Path(path).suffix not in (".pth", ".pt", ".safetensors"):
        DetectionCheckpointer(model).load(path)  # Detectron2's model zoo
        return
    try:
        model.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise InputError(
            path,
            expected="weights of the model that the config describes",
            found=" ".join(str(error).split())[:300],
            remedy="Give the config that the checkpoint was trained with (config.yaml beside it).",
        ) from error
    logger.info("%s loaded", path)


def _dtype(name: str) -> torch.dtype | None:
    dtypes = {"": None, "bfloat16": torch.bfloat16}
    if name not in dtypes:
        raise InputError("SOLVER.AUTOCAST", expected='"bfloat16" or ""', found=name)
    return dtypes[name]
