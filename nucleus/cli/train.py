"""Train a model and evaluate it, or evaluate one (--eval-only).

  nucleus train --config-file configs/quick/mask_rcnn_lite0_FPN.yaml OUTPUT_DIR output/quick
  nucleus train --config-file ... --resume                      go on from the last checkpoint in OUTPUT_DIR
  nucleus train --config-file ... --eval-only MODEL.WEIGHTS output/quick/model_best.pth
  nucleus train --config-file nucleus://lite --eval-only DATASETS.TEST "('bbbc038_test',)"
  nucleus train --config-file nucleus://lite DATASETS.TRAIN "('mine',)" DATASETS.TEST "('mine_val',)"    fine-tuning
  nucleus train --config-file ... --num-gpus 0 --num-processes 2         two processes on the CPU
  torchrun --nproc-per-node 8 tools/train_net.py --config-file ...       one process a GPU

nucleus://NAME is the config, and as MODEL.WEIGHTS the weights, of a model that `nucleus zoo` lists.
IMS_PER_BATCH is the batch of all processes together. OUTPUT_DIR holds run.json: what ran, on what, with what scores.
What follows the flags is KEY VALUE pairs over the config; see nucleus/config.py for nucleus's own keys.
"""

from __future__ import annotations

import argparse

from nucleus.zoo.files import config_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Detectron2's flags."""
    parser.add_argument("--config-file", required=True, metavar="FILE", help="a YAML file, such as those in configs/, "
                        "or nucleus://NAME")  # fmt: skip
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint in OUTPUT_DIR; with --eval-only, evaluate it",
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS on DATASETS.TEST")
    parser.add_argument("--choose-threshold", action="store_true", help="with --eval-only: choose the score threshold "
                        "anew on the first of DATASETS.TEST and record it with MODEL.WEIGHTS")  # fmt: skip
    parser.add_argument("--num-gpus", type=int, default=None, help="GPUs a machine (default: 1 if any; 0: CPU)")
    parser.add_argument("--num-processes", type=int, default=1, help="processes a machine, with --num-gpus 0")
    parser.add_argument("--num-machines", type=int, default=1)
    parser.add_argument("--machine-rank", type=int, default=0, help="this machine's rank, from 0")
    parser.add_argument("--dist-url", default="auto", help="address of the first machine, such as tcp://HOST:PORT")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of config keys")


def run(args: argparse.Namespace) -> int:
    """Train or evaluate; returns 0, or what a process of several ended with."""
    args.config_file = config_file(args.config_file)
    from nucleus.engine.run import launch_run  # torch only when needed

    return launch_run(args)
