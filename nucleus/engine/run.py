"""One run from the command line: config, set-up, training or evaluation."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

import nucleus.modeling  # noqa: F401  registers the backbones
from nucleus.config import load_config
from nucleus.data.catalog import register_all
from nucleus.engine.manifest import run_manifest
from nucleus.engine.processes import start_processes
from nucleus.engine.trainer import NucleusTrainer, load_trained_weights


def launch_run(args: argparse.Namespace) -> int:
    """Train or evaluate in one process or several.

    Args:
        args: what `nucleus.cli.train.add_arguments` defines.

    Returns:
        Exit code.
    """
    return start_processes(run_process, args)


def run_process(args: argparse.Namespace) -> dict[str, Any]:
    """Train or evaluate in this process; returns the scores by data set, in the first process."""
    register_all()
    cfg = setup(args)
    if args.eval_only:
        model = NucleusTrainer.build_model(cfg)
        load_trained_weights(model, cfg)
        with run_manifest(cfg) as entry:
            entry["scores"] = NucleusTrainer.test(cfg, model)
        return entry["scores"]
    trainer = NucleusTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    with run_manifest(cfg, first_iteration=trainer.start_iter) as entry:
        entry["scores"] = trainer.train()
        if trainer.stop_reason:
            entry["outcome"] = trainer.stop_reason
    return entry["scores"]


def setup(args: argparse.Namespace) -> CfgNode:
    """Read the config, choose the device, start logging, seed, and write the config to OUTPUT_DIR."""
    cfg = load_config(args.config_file, args.opts)
    if cfg.MODEL.DEVICE == "cuda" and (args.num_gpus == 0 or not torch.cuda.is_available()):
        cfg.MODEL.DEVICE = "cpu"
    if cfg.SEED < 0:  # drawn here, so that config.yaml holds what reproduces the run
        cfg.SEED = comm.shared_random_seed()
    cfg.freeze()
    default_setup(cfg, args)
    # Detectron2 sets up the loggers of its own packages; without this the score table would not be printed.
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="nucleus")
    return cfg
