"""Detectron2's trainer with nucleus's data, evaluator, optimizer, averaging and hooks."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, create_ddp_model, hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import inference_on_dataset, print_csv_format, verify_results
from detectron2.modeling import build_model
from detectron2.solver.build import get_default_optimizer_params
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventStorage, EventWriter, JSONWriter, TensorboardXWriter
from torch import nn
from torch.optim.swa_utils import AveragedModel

from nucleus.data.loader import build_test_loader, build_train_loader
from nucleus.engine.best_checkpoint import BestCheckpoint
from nucleus.engine.checkpointer import CheckpointHook, NucleusCheckpointer
from nucleus.engine.early_stop import EarlyStop
from nucleus.engine.ema import EmaHook, build_ema
from nucleus.engine.evaluation_hook import LogHook, ScoreHook
from nucleus.engine.metrics_log import trim_metrics
from nucleus.engine.picture_hook import PictureHook
from nucleus.engine.preemption import StopOnTerminate
from nucleus.engine.refused_keys import check_model_keys, check_training_keys
from nucleus.engine.reseed import ReseedHook
from nucleus.engine.score_threshold import USED, ThresholdHook, ThresholdRecord, first_threshold
from nucleus.engine.shared_statistics import SharedStatistics
from nucleus.engine.training_step import TrainingStep, autocast_dtype
from nucleus.engine.validation_loss import build_validation_loss
from nucleus.errors import InputError
from nucleus.evaluation.evaluator import NucleusEvaluator
from nucleus.modeling.score_threshold import DEFAULT, KEY

logger = logging.getLogger(__name__)

BEST_SCORE = "nucleus/DSB score (image mean)"  # among the scores of one data set


class NucleusTrainer(DefaultTrainer):
    """Trains, checkpoints and evaluates what a config describes, on one process or several, on GPUs or CPUs.

    A run that is killed and resumed goes on exactly: data order and augmentation depend on SEED and position
    (`nucleus.data.stream`), the heads' sampling on SEED and iteration (`nucleus.engine.reseed`), and everything that
    grows with the steps is in the checkpoint (model, optimizer, schedule, average, best score).

    Args:
        cfg: frozen; SEED 0 or more.

    Attributes:
        completed: whether training ran to its end, or was stopped early.
        stop_reason: set by a hook to end training after the present step; a sentence.
    """

    def __init__(self, cfg: CfgNode) -> None:
        TrainerBase.__init__(self)  # DefaultTrainer would expect a GPU a process
        check_training_keys(cfg)
        self.cfg = cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        train_only(model, cfg.SOLVER.TRAIN_ONLY)
        optimizer = self.build_optimizer(cfg, model)
        loader = self.build_train_loader(cfg)
        on_gpu = next(model.parameters()).is_cuda
        self._trainer = TrainingStep(
            create_ddp_model(model, broadcast_buffers=False, **({} if on_gpu else {"device_ids": None})),
            loader,
            optimizer,
            autocast_dtype(cfg.SOLVER.AUTOCAST, cfg.MODEL.DEVICE),
            cfg.SOLVER.CLIP_TOTAL_NORM,
            cfg.SOLVER.ACCUMULATE,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = NucleusCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.ema: AveragedModel | None = None
        if cfg.SOLVER.EMA_DECAY:
            self.ema = build_ema(model, cfg.SOLVER.EMA_DECAY)
            self.checkpointer.add_checkpointable("ema", self.ema)
        self.threshold_record = ThresholdRecord()
        self.checkpointer.add_checkpointable(KEY, self.threshold_record)
        self.bare_model = model
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.completed = False
        self.stop_reason = ""
        self.terminate = StopOnTerminate(self.checkpointer)
        self.register_hooks(self.build_hooks())

    def build_hooks(self) -> list[HookBase]:
        """The hooks in their order: time and weights, then evaluation, then the checkpoint that knows of both."""
        cfg, period = self.cfg, self.cfg.TEST.EVAL_PERIOD
        first = cfg.DATASETS.TEST[0]
        prefix = "" if len(cfg.DATASETS.TEST) == 1 else f"{first}/"  # of the scores that are logged
        folders = [_evaluation_folder(cfg, name) for name in cfg.DATASETS.TEST]
        best = BestCheckpoint(period, self.checkpointer, prefix + BEST_SCORE)
        record = ThresholdHook(period, self.threshold_record, first, prefix + USED, cfg.OUTPUT_DIR)
        return [
            hooks.IterationTimer(),
            ReseedHook(cfg.SEED),
            hooks.LRScheduler(),
            *([SharedStatistics(self.bare_model)] if comm.get_world_size() > 1 else []),
            *([] if self.ema is None else [EmaHook(self.ema, self.bare_model)]),
            ScoreHook(period, self._evaluate),
            *([record] if first_threshold(cfg) is None else []),
            *([PictureHook(period, folders)] if cfg.TEST.PANELS else []),
            *([build_validation_loss(cfg, self.evaluated_model)] if cfg.TEST.LOSS_IMAGES else []),
            best,
            *([EarlyStop(period, cfg.TEST.PATIENCE, best)] if cfg.TEST.PATIENCE else []),
            *([CheckpointHook(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD)] if _first() else []),
            self.terminate,
        ]

    def build_writers(self) -> list[EventWriter]:
        """The terminal, metrics.json and TensorBoard; what a resumed run repeats is taken out of both files."""
        folder = Path(self.cfg.OUTPUT_DIR)
        first = self.start_iter
        if 0 < first < self.max_iter and self.checkpointer.ended():
            first += 1  # the evaluation at the end of a run that is now to be longer was logged as of the step to come
        trim_metrics(folder / "metrics.json", first)
        return [
            CommonMetricPrinter(self.max_iter),
            JSONWriter(str(folder / "metrics.json")),
            TensorboardXWriter(str(folder), purge_step=first),
        ]

    def resume_or_load(self, resume: bool = True) -> None:
        """Load MODEL.WEIGHTS; with `resume`, go on from the last checkpoint in OUTPUT_DIR where there is one.

        Raises:
            InputError: see `NucleusCheckpointer.resume_or_load`; or the processes do not see the same checkpoint.
        """
        super().resume_or_load(resume)
        starts = comm.all_gather(self.start_iter)
        if len(set(starts)) > 1:
            raise InputError(self.cfg.OUTPUT_DIR, expected="one folder that all processes see",
                             found=f"that they would go on from the iterations {', '.join(map(str, starts))}",
                             remedy="Set OUTPUT_DIR to a folder that all machines share.")  # fmt: skip
        self.data_loader.batch_sampler.start = self.start_iter

    def train(self) -> dict[str, Any]:
        """Run all steps that are left.

        Unlike Detectron2's loop this one can be stopped by a hook, prints no traceback of its own, and does not
        evaluate after a failure.

        Returns:
            The scores of the last evaluation; empty where there was none, and in all processes but the first.

        Raises:
            InputError: the loss is not finite any more.
        """
        if _first():  # only now, since the first iteration must be known
            writers = self.build_writers()
            log = LogHook(self.cfg.TEST.EVAL_PERIOD, [w for w in writers if not isinstance(w, CommonMetricPrinter)])
            self.register_hooks([log, hooks.PeriodicWriter(writers, period=20)])
        logger.info("Training from iteration %d to %d", self.start_iter, self.max_iter)
        self.iter = self.start_iter
        self._last_eval_results: dict[str, Any] = {}
        with EventStorage(self.start_iter) as self.storage:
            self.before_train()
            try:
                while self.iter < self.max_iter and not self.stop_reason:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    self.iter += 1
                self.completed = True
            finally:
                self.after_train()
        if self.cfg.TEST.EXPECTED_RESULTS and _first():
            verify_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

    def state_dict(self) -> dict[str, Any]:
        """See TrainerBase; after the last step `iter` is that of a step which is not to come, and is not said."""
        return super().state_dict() | {"iteration": min(self.iter, self.max_iter - 1)}

    def _evaluate(self) -> dict[str, Any]:
        self._last_eval_results = self.test(self.cfg, self.evaluated_model)
        return self._last_eval_results

    @property
    def evaluated_model(self) -> nn.Module:
        """The average of the weights where there is one."""
        return self.bare_model if self.ema is None else self.ema.module

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The model of the config, in the memory layout that MODEL.CHANNELS_LAST asks for.

        Raises:
            InputError: see `check_model_keys`.
        """
        check_model_keys(cfg)
        layout = torch.channels_last if cfg.MODEL.CHANNELS_LAST else torch.contiguous_format
        return build_model(cfg).to(memory_format=layout)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        """See `nucleus.data.loader`."""
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """See `nucleus.data.loader`."""
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, score_threshold: float | None = DEFAULT
    ) -> NucleusEvaluator:
        """All scores of a data set, written to OUTPUT_DIR/evaluation/DATASET; None chooses the threshold there."""
        return NucleusEvaluator(
            dataset_name,
            _evaluation_folder(cfg, dataset_name),
            score_threshold=score_threshold,
            max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
            panels=cfg.TEST.PANELS,
        )

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, recorded_threshold: float | None = None) -> dict[str, Any]:
        """Evaluate a model on DATASETS.TEST; the score threshold of the first holds for all.

        Args:
            cfg: of the data sets and the evaluation.
            model: with its weights.
            recorded_threshold: with the weights, if any is; see `nucleus.engine.score_threshold`.

        Returns:
            The scores of the one data set, or those of several by name; empty in all processes but the first.
        """
        threshold = first_threshold(cfg, recorded_threshold)
        results = {}
        for name in cfg.DATASETS.TEST:
            evaluator = cls.build_evaluator(cfg, name, threshold)
            results[name] = inference_on_dataset(model, cls.build_test_loader(cfg, name), evaluator)
            threshold = comm.all_gather(evaluator.score_threshold)[0]  # the first process knows what was chosen
            if _first():
                logger.info("Scores of %s as Detectron2 prints them:", name)
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """SGD as Detectron2 builds it, or AdamW (Loshchilov and Hutter 2019).

        AdamW does not decay norms, biases and Swin's tables of relative positions.
        """
        if cfg.SOLVER.OPTIMIZER == "SGD":
            return super().build_optimizer(cfg, model)
        if cfg.SOLVER.OPTIMIZER != "AdamW":
            raise InputError("SOLVER.OPTIMIZER", expected="SGD or AdamW", found=cfg.SOLVER.OPTIMIZER)
        parameters = get_default_optimizer_params(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            weight_decay_norm=0.0,
            weight_decay_bias=0.0,
            overrides={"relative_position_bias_table": {"weight_decay": 0.0}},
        )
        # One pass over each tensor in place of one an operation.
        return torch.optim.AdamW(parameters, cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY, fused=True)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
        """Detectron2's schedules with warm-up: cosine, multi-step, or steps of a fixed factor."""
        try:
            return super().build_lr_scheduler(cfg, optimizer)
        except (ValueError, AssertionError) as error:
            raise InputError(
                "SOLVER.LR_SCHEDULER_NAME",
                expected="WarmupCosineLR, WarmupMultiStepLR or WarmupStepWithFixedGammaLR, with steps that fit",
                found=f"{cfg.SOLVER.LR_SCHEDULER_NAME}: {error}",
            ) from error


def train_only(model: nn.Module, beginning: str) -> None:
    """Freeze all parameters but those whose names begin so; "" freezes none.

    Raises:
        InputError: none of those that are trained begins so; or batch norms elsewhere would move their statistics.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and not f"{name}.".startswith(beginning):
            raise InputError("SOLVER.TRAIN_ONLY", expected="frozen norms in all that is not trained", found=name,
                             remedy='Set MODEL.TIMM.NORM or MODEL.RESNETS.NORM "FrozenBN".')  # fmt: skip
    parameters = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    if not any(name.startswith(beginning) for name, _ in parameters):
        parts = sorted({name.partition(".")[0] for name, _ in parameters})
        raise InputError("SOLVER.TRAIN_ONLY", expected=f"the beginning of parameters of {', '.join(parts)}",
                         found=beginning)  # fmt: skip
    for name, one in parameters:
        one.requires_grad_(name.startswith(beginning))


def _evaluation_folder(cfg: CfgNode, dataset_name: str) -> Path:
    return Path(cfg.OUTPUT_DIR) / "evaluation" / dataset_name


def _first() -> bool:
    return comm.is_main_process()
