#!/usr/bin/env python
"""What each part of a recipe brings, on images like those seen and on a colour that training never saw.

    DETECTRON2_DATASETS=datasets python benchmarks/ablation.py --index BBBC038/index.csv --held-out purple,white \
        --variants base,no_colour --seeds 2 --output output/ablation

All training images of one foreground and background colour (as index.csv has them) are taken out of training and
validation and make a test set of their own. Each variant is trained with each seed from ImageNet weights, its score
threshold chosen on the validation images that are left, and scored on these and on the held-out ones. The test set of
BBBC038 has no part in it. A run that is finished is not repeated: the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nucleus.data.registry import register_set

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "quick" / "mask_rcnn_lite0_FPN.yaml"
PHOTOMETRIC = "INPUT.PHOTOMETRIC."
COLOUR = ("STAIN", "HUE", "CHANNEL_GAIN", "GRAY", "INVERT")
# What each variant changes of the quick config; names are those of the table.
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "no_colour": {PHOTOMETRIC + name: 0.0 for name in COLOUR},
    "no_photometric": {PHOTOMETRIC + name: 0.0 for name in (*COLOUR, "GAMMA", "CONTRAST", "BLUR", "NOISE")},
    "more_colour": {PHOTOMETRIC + name: value for name, value in
                    {"HUE": 0.5, "GRAY": 0.2, "CHANNEL_ORDER": 0.1}.items()},
    "no_stain": {PHOTOMETRIC + "STAIN": 0.0},
    "no_hue": {PHOTOMETRIC + "HUE": 0.0},
    "no_gray": {PHOTOMETRIC + "GRAY": 0.0},
    "no_inversion": {PHOTOMETRIC + "INVERT": 0.0},
    "channel_order": {PHOTOMETRIC + "CHANNEL_ORDER": 0.5},
    "gray_always": {PHOTOMETRIC + "GRAY": 1.0},
    "no_balance": {"DATALOADER.MODALITY_BALANCE": 0.0},
    "wider_scale": {"INPUT.SCALE_RANGE": "(0.6, 1.8)"},
    "no_scale": {"INPUT.SCALE_RANGE": "(1.0, 1.0)"},
    "even_modalities": {"DATALOADER.MODALITY_BALANCE": 1.0},
    "no_turns": {"INPUT.FLIP_AND_TURN": False},
    "no_average": {"SOLVER.EMA_DECAY": 0.0},
    "trained_norms": {"MODEL.TIMM.NORM": "BN", "MODEL.FAST_CONVOLUTIONS": False},
    "wide_heads": {"MODEL.FPN.OUT_CHANNELS": 128, "MODEL.ROI_MASK_HEAD.CONV_DIM": 128,
                   "MODEL.ROI_BOX_HEAD.FC_DIM": 512},
    "larger": {"INPUT.UPSCALE_SHORT_EDGE": 512},
    "native": {"INPUT.UPSCALE_SHORT_EDGE": 0},
    "finer_masks": {"MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 20},
    "coarser_masks": {"MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 10},
    "one_ratio": {"MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": "[[1.0]]"},
    "fitted_anchors": {"MODEL.ANCHOR_GENERATOR.SIZES": "[[12], [24], [36], [57], [79]]"},
    "double_rate": {"SOLVER.BASE_LR": 0.0012},
    "half_rate": {"SOLVER.BASE_LR": 0.0003},
    "unaligned": {"MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign", "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIAlign"},
    "mask_margin": {"MODEL.ROI_MASK_HEAD.MARGIN": 0.125, "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": True},
}  # fmt: skip
SCORES = ("DSB score", "object F1@0.70", "object F1@0.90", "pixel Dice")


def split(datasets: Path, index: Path, colours: tuple[str, str], folder: Path) -> None:
    """Write the three sets and register them in a data root of their own."""
    with index.open(newline="") as file:
        chosen = {row["image_id"] for row in csv.DictReader(file) if (row["foreground"], row["background"]) == colours}
    annotations = datasets / "bbbc038" / "annotations"
    sets = {"ablation_train": ("train", False), "ablation_seen": ("val", False), "ablation_unseen": ("trainval", True)}
    for name, (source, held_out) in sets.items():
        content = json.loads((annotations / f"bbbc038_{source}.json").read_bytes())
        content["images"] = [
            image for image in content["images"] if (Path(image["file_name"]).stem in chosen) == held_out
        ]
        if not content["images"]:
            sys.exit(f"--held-out: no training image is {colours[0]} on {colours[1]}")
        kept = {image["id"] for image in content["images"]}
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]
        path = folder / f"{name}.json"
        path.write_text(json.dumps(content))
        register_set(folder, name, path, datasets / "bbbc038")
        print(f"{name}: {len(content['images'])} images, {len(content['annotations'])} nuclei", flush=True)


def train(variant: str, seed: int, steps: int, folder: Path, overrides: Sequence[str]) -> dict[str, dict[str, float]]:
    """Train one variant, unless that was done before; the scores of both sets."""
    output = folder / f"{variant}_{seed}"
    settings = {
        "OUTPUT_DIR": output, "SEED": seed, "SOLVER.MAX_ITER": steps, "DATASETS.TRAIN": "('ablation_train',)",
        "DATASETS.TEST": "('ablation_seen', 'ablation_unseen')", "TEST.EVAL_PERIOD": 0, "TEST.LOSS_IMAGES": 0,
        "TEST.PANELS": 0, "SOLVER.CHECKPOINT_PERIOD": 200,
    } | VARIANTS[variant]  # fmt: skip
    if not (output / "model_final.pth").exists():
        command = [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config-file", str(CONFIG), "--resume"]
        command += overrides
        command += [str(part) for pair in settings.items() for part in pair]  # a variant has the last word
        output.mkdir(parents=True, exist_ok=True)
        with (output / "printed.txt").open("a") as log:
            subprocess.run(command, env=os.environ | {"DETECTRON2_DATASETS": str(folder)}, check=True, stdout=log,
                           stderr=subprocess.STDOUT)  # fmt: skip
    scores = {}
    for name in ("seen", "unseen"):
        found = json.loads((output / "evaluation" / f"ablation_{name}" / "scores.json").read_bytes())
        scores[name] = {score: image_mean(found, score) for score in SCORES}
    return scores


def image_mean(scores: dict[str, Any], name: str) -> float:
    """The mean over images of a score in scores.json."""
    return float(scores["scores"]["overall"]["image_mean"][name])


def main() -> None:
    """Train, score, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, metavar="FILE", help="index.csv beside the archives")
    parser.add_argument("--held-out", default="purple,white", metavar="F,B", help="foreground, background colour")
    parser.add_argument("--variants", default="base,no_colour", metavar="V,V", help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="runs of each variant (default 2)")
    parser.add_argument("--steps", type=int, default=800, metavar="N", help="of each run (default 800)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the runs")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="in the config of every run")
    args = parser.parse_args()
    folder = args.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    foreground, background = args.held_out.split(",")
    split(
        Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).resolve(), args.index, (foreground, background), folder
    )
    rows: dict[str, list[dict[str, dict[str, float]]]] = {}
    for seed in range(args.seeds):  # all variants once before any twice
        for variant in args.variants.split(","):
            rows.setdefault(variant, []).append(train(variant, seed, args.steps, folder, args.opts))
            print(f"{variant}, seed {seed}:", rows[variant][-1], flush=True)
    print("\n| variant | " + " | ".join(f"{score}, {name}" for name in ("seen", "unseen") for score in SCORES) + " |")
    print("| --- |" + " --- |" * 2 * len(SCORES))
    for variant, runs in rows.items():
        cells = []
        for name in ("seen", "unseen"):
            for score in SCORES:
                values = [run[name][score] for run in runs]
                cells.append(f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        print(f"| {variant} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
