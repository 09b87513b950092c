"""One run from the command line: config, set-up, training or evaluation."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

import nucleus.modeling  # noqa: F401  registers the backbones
from nucleus.config import load_config
from nucleus.data.catalog import check_data_sets, register_all
from nucleus.engine.checkpointer import LAST
from nucleus.engine.manifest import check_same_data, run_manifest
from nucleus.engine.outside import outside_errors
from nucleus.engine.preemption import STOPPED
from nucleus.engine.processes import start_processes
from nucleus.engine.score_threshold import first_threshold
from nucleus.engine.trainer import NucleusTrainer
from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.inference.weights import load_trained_weights
from nucleus.modeling.score_threshold import read_score_threshold, record_score_threshold
from nucleus.zoo.files import SCHEME, weights_file

logger = logging.getLogger(__name__)


def launch_run(args: argparse.Namespace) -> int:
    """Train or evaluate in one process or several.

    Args:
        args: what `nucleus.cli.train.add_arguments` defines.

    Returns:
        Exit code.
    """
    return start_processes(run_process, args)


def run_process(args: argparse.Namespace) -> dict[str, Any]:
    """Train or evaluate in this process; returns the scores by data set, in the first process.

    Raises:
        InputError: see `outside_errors`, beside what training and evaluation raise.
        SystemExit: with code 143, where SIGTERM stopped the training.
    """
    register_all()
    cfg = read_config(args)
    with outside_errors(cfg.OUTPUT_DIR):
        set_up(cfg, args)
        return evaluate(cfg, args) if args.eval_only else train(cfg, args)


def evaluate(cfg: CfgNode, args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate MODEL.WEIGHTS; returns the scores by data set, in the first process."""
    check_data_sets("DATASETS.TEST", cfg.DATASETS.TEST)
    model = NucleusTrainer.build_model(cfg)
    load_trained_weights(model, cfg.MODEL.WEIGHTS)
    with run_manifest(cfg) as entry:
        recorded = None if args.choose_threshold else read_score_threshold(weights_file(cfg.MODEL.WEIGHTS))
        entry["scores"] = NucleusTrainer.test(cfg, model, recorded)
        if args.choose_threshold and comm.is_main_process():
            record_threshold(cfg, entry["scores"])
    return entry["scores"]


def train(cfg: CfgNode, args: argparse.Namespace) -> dict[str, Any]:
    """Train, or go on with it; returns the last scores by data set, in the first process.

    Raises:
        SystemExit: see `run_process`.
    """
    trainer = NucleusTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    if trainer.start_iter > 0:
        check_same_data(cfg)
    with run_manifest(cfg, first_iteration=trainer.start_iter) as entry:
        entry["scores"] = trainer.train()
        if trainer.stop_reason:
            entry["outcome"] = trainer.stop_reason
    if trainer.terminate.stopped:
        raise SystemExit(STOPPED)
    return entry["scores"]


def check_choice(args: argparse.Namespace, cfg: CfgNode) -> None:
    """Refuse a choice of the score threshold that could not be made.

    Raises:
        InputError: --choose-threshold without --eval-only, with TEST.SCORE_THRESHOLD set, on a test set, or for a model
            of the zoo.
    """
    if not args.choose_threshold:
        return
    if not args.eval_only:
        raise InputError("--choose-threshold", expected="--eval-only beside it", found="training, which always chooses")
    if cfg.MODEL.WEIGHTS.startswith(SCHEME):
        raise InputError("--choose-threshold", expected="weights of your own, to record it with",
                         found=cfg.MODEL.WEIGHTS, remedy="Set TEST.SCORE_THRESHOLD instead.")  # fmt: skip
    check_data_sets("DATASETS.TEST", cfg.DATASETS.TEST)
    if first_threshold(cfg) is not None:
        raise InputError(
            "--choose-threshold",
            expected="a validation set as the first of DATASETS.TEST, and no TEST.SCORE_THRESHOLD",
            found=f"{cfg.DATASETS.TEST[0]} and {cfg.TEST.SCORE_THRESHOLD:g}",
        )


def record_threshold(cfg: CfgNode, scores: dict[str, Any]) -> None:
    """Record the score threshold that an evaluation chose with MODEL.WEIGHTS."""
    first = cfg.DATASETS.TEST[0]
    value = (scores if len(cfg.DATASETS.TEST) == 1 else scores[first])["threshold"]["score threshold"]
    record_score_threshold(cfg.MODEL.WEIGHTS, {"value": value, "data set": first})
    logger.info("Score threshold %g, chosen on %s, is recorded with %s", value, first, cfg.MODEL.WEIGHTS)


def read_config(args: argparse.Namespace) -> CfgNode:
    """The config of a run, frozen, with its device and seed."""
    cfg = load_config(args.config_file, args.opts)
    if cfg.MODEL.DEVICE == "cuda" and (args.num_gpus == 0 or not torch.cuda.is_available()):
        cfg.MODEL.DEVICE = "cpu"
    if args.eval_only and args.resume:
        cfg.MODEL.WEIGHTS = last_checkpoint(cfg.OUTPUT_DIR)
    if cfg.SEED < 0:  # drawn here, so that config.yaml holds what reproduces the run
        cfg.SEED = comm.shared_random_seed()
    cfg.freeze()
    check_choice(args, cfg)
    if comm.get_world_size() > 1 and cfg.MODEL.DEVICE == "cpu" and dist.get_backend() == "nccl":
        raise InputError("MODEL.DEVICE", expected="cuda, as there are GPUs", found="cpu",
                         remedy="Set it, or add --num-gpus 0 for several processes on CPUs.")  # fmt: skip
    return cfg


def last_checkpoint(folder: str | Path) -> str:
    """The checkpoint that an evaluation with --resume is of, as in Detectron2's tools/train_net.py.

    Raises:
        InputError: there is none.
    """
    name = Path(folder) / LAST
    if not name.is_file():
        raise InputError(name, expected="the name of a checkpoint to evaluate", found="nothing there",
                         remedy="Leave --resume away and set MODEL.WEIGHTS.")  # fmt: skip
    return str(Path(folder) / name.read_text(encoding="utf-8").strip())


def set_up(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Start logging, seed, and write the config to OUTPUT_DIR.

    An evaluation leaves a config that is there: it is that of the weights beside it, and prediction reads it. One that
    chooses their score threshold does write its own, which goes with that threshold from then on.
    """
    logging.raiseExceptions = False  # on a full disk, a log that cannot be written must not bury the error
    config = Path(cfg.OUTPUT_DIR) / "config.yaml"
    of_training = config.read_bytes() if args.eval_only and not args.choose_threshold and config.is_file() else None
    default_setup(cfg, args)
    if of_training is not None and comm.is_main_process():
        with atomic_write(config) as temporary:
            temporary.write_bytes(of_training)
    # Detectron2 sets up the loggers of its own packages; without this the score table would not be printed.
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="nucleus")
    if cfg.MODEL.DEVICE == "cpu" and args.num_gpus != 0 and torch.cuda.is_available():
        logger.warning("There is a GPU, and the config says MODEL.DEVICE cpu: add MODEL.DEVICE cuda to use it")
