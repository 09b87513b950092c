#!/usr/bin/env python
"""Nine backbones in one Mask R-CNN, each swapped in by one override, trained three steps and evaluated on two images.

    python benchmarks/backbones.py [--json FILE]

It shows that swapping works and what it costs on this machine, with the heads of configs/quick; it says nothing of
accuracy. The images are made on the spot. Weights are random but for those that come as packages. Time for an image
depends on what the untrained heads take for nuclei, up to 500 of them: compare steps, not images.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from tabulate import tabulate
from torch import nn

import nucleus.modeling  # noqa: F401  registers the backbones
from nucleus.cli.main import run_command
from nucleus.config import load_config
from nucleus.data.catalog import register_all
from nucleus.data.loader import build_test_loader
from nucleus.engine.trainer import NucleusTrainer
from nucleus.formats.atomic import atomic_write
from nucleus.modeling.pretrained import PACKAGED

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "quick" / "mask_rcnn_lite0_FPN.yaml"
BACKBONES = {
    "tf_efficientnet_lite0": "MODEL.TIMM.NAME",
    "tf_efficientnet_lite2": "MODEL.TIMM.NAME",
    "mobilenetv3_large_100": "MODEL.TIMM.NAME",
    "regnetx_002": "MODEL.TIMM.NAME",
    "resnet18": "MODEL.TIMM.NAME",
    "resnet50": "MODEL.TIMM.NAME",
    "convnext_atto": "MODEL.TIMM.NAME",
    "swin_tiny_patch4_window7_224": "MODEL.TIMM.NAME",
    "build_resnet_fpn_backbone": "MODEL.BACKBONE.NAME",  # Detectron2's own ResNet-50
}
DATA_SET = "bbbc038_synthetic"
IMAGES, TEST_IMAGES, STEPS = 8, 2, 3


@dataclass
class Result:
    """One line of the table.

    Attributes:
        backbone: its name.
        parameters: of the whole model, in millions.
        step: seconds of a training step, the median after the first.
        image: seconds of the network for a test image, the median.
        weights: what the backbone started from.
        ok: whether all steps were made, with finite losses, and the evaluation gave a score.
        reason: what went wrong.
    """

    backbone: str
    parameters: float = math.nan
    step: float = math.nan
    image: float = math.nan
    weights: str = ""
    ok: bool = False
    reason: str = ""


class StepClock(HookBase):
    """Seconds of every step, with the loading of its batch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def before_step(self) -> None:
        self.start = time.perf_counter()

    def after_step(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.start)


def make_images(root: Path) -> None:
    """Write the synthetic set and register it."""
    folder = root / DATA_SET
    one = ["--root", str(folder), "--workers", "1"]  # ten images are written before a second process is up
    sizes = ["--images", f"{IMAGES}", "--test-images", f"{TEST_IMAGES}", "--max-size", "256"]
    failed = run_command("synth", [*one, "--seed", "0", *sizes])
    failed = failed or run_command("prepare", [*one, "--source", str(folder)])
    if failed:
        raise SystemExit(failed)
    register_all(root)


def config_of(backbone: str, output: Path) -> CfgNode:
    """The quick config with this backbone: the first line of overrides is what differs between the nine."""
    overrides = [
        *(BACKBONES[backbone], backbone),
        *("MODEL.TIMM.WEIGHTS", "imagenet" if backbone in PACKAGED else ""),
        *("MODEL.TIMM.NORM", "FrozenBN" if backbone in PACKAGED else "BN"),
        *("MODEL.DEVICE", "cuda" if torch.cuda.is_available() else "cpu"),
        *("DATASETS.TRAIN", f"('{DATA_SET}_train',)", "DATASETS.TEST", f"('{DATA_SET}_test',)"),
        *("SOLVER.MAX_ITER", f"{STEPS}", "SOLVER.WARMUP_ITERS", "1", "SOLVER.CHECKPOINT_PERIOD", "1000000"),
        *("DATALOADER.NUM_WORKERS", "0", "TEST.PANELS", "0", "TEST.EVAL_PERIOD", "0"),
        *("OUTPUT_DIR", str(output)),
    ]
    cfg = load_config(CONFIG, overrides)
    cfg.freeze()
    return cfg


def measure(backbone: str, output: Path) -> Result:
    """Train, evaluate and time one backbone; what goes wrong is in the result."""
    result = Result(backbone, weights="ImageNet" if backbone in PACKAGED else "random")
    output.mkdir()
    try:
        torch.manual_seed(0)
        cfg = config_of(backbone, output)
        trainer, clock = NucleusTrainer(cfg), StepClock()
        trainer.register_hooks([clock])
        model = trainer.model
        result.parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        with contextlib.redirect_stdout(io.StringIO()):  # nine score tables of untrained models
            scores = trainer.train()["nucleus"]
        result.step = statistics.median(clock.seconds[1:])
        result.image = seconds_an_image(cfg, model)
        # A loss that is not finite ends training with an error.
        result.ok = len(clock.seconds) == STEPS and math.isfinite(scores["DSB score (image mean)"])
    except Exception as error:  # the other backbones are still worth measuring
        result.reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return result


@torch.no_grad()
def seconds_an_image(cfg: CfgNode, model: nn.Module) -> float:
    """Median over the test images, each once and alone, after one that is not counted."""
    model.eval()
    seconds = []
    batches = list(build_test_loader(cfg, cfg.DATASETS.TEST[0]))
    for batch in [batches[0], *batches]:
        start = time.perf_counter()
        model(batch)  # its output is on its way to the host: nothing is left to wait for
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all and print the table; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    args = parser.parse_args(arguments)
    os.environ.setdefault("GOMP_SPINCOUNT", "0")  # waiting threads would take the cores from working ones
    results = []
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder))
        for backbone in BACKBONES:
            print(f"{backbone} ...", file=sys.stderr, flush=True)
            results.append(measure(backbone, Path(folder) / backbone))
            gc.collect()  # a trainer and its hooks hold one another
    rows = [(r.backbone, r.parameters, r.step, r.image, r.weights, "yes" if r.ok else r.reason) for r in results]
    headers = ["backbone", "parameters [M]", "s / step", "s / image", "weights", "ok"]
    print(tabulate(rows, headers, floatfmt=("", ".1f", ".2f", ".2f", "", "")))
    if args.json:
        with atomic_write(args.json) as temporary:
            temporary.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n", encoding="utf-8")
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
