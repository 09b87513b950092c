"""Show a data set: contact sheets of images with the outlines of their truth, and sizes and counts by modality.

Writes NAME_sheet_1.png ..., NAME_statistics.png and NAME_statistics.csv, and prints the table. With --augmented writes
NAME_augmented.png instead: every augmentation by itself, and all of them as training sees them. With --anchors writes
nothing and prints anchors that fit the data set's boxes, ready for a config.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from nucleus.data.anchors import SHORT_EDGE, Anchors, anchors_of_config, boxes_of, compare_anchors
from nucleus.data.registry import RESERVED, Entry, read_registry
from nucleus.errors import InputError
from nucleus.formats.coco import read_coco
from nucleus.visualization.browse import browse
from nucleus.visualization.statistics import format_statistics
from nucleus.zoo.files import config_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--dataset", required=True, metavar="NAME", help="such as bbbc038_train, or one of `nucleus convert`"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write into; needed but for --anchors")
    parser.add_argument("--images", type=int, default=5, metavar="N", help="images of each modality (default 5)")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--augmented", action="store_true", help="show what training sees")
    instead.add_argument("--anchors", action="store_true", help="fit anchors to the boxes")
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="or nucleus://NAME: whose augmentation or anchors (default: nucleus's defaults)",
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="data root (default: $DETECTRON2_DATASETS, else datasets)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the pictures and print the table."""
    entry = find_data_set(args.dataset, args.root or Path(os.environ.get("DETECTRON2_DATASETS", "datasets")))
    coco = read_coco(entry.json_file)
    coco["annotations"] = [one for one in coco["annotations"] if not one.get("iscrowd")]  # regions, and no nuclei
    config = None if args.config_file is None else Path(config_file(args.config_file))
    if args.anchors:
        print(_anchors(coco, config))
        return 0
    if args.output is None:
        raise InputError("--output", expected="a folder to write into", found="nothing")
    if args.augmented:
        print(_augmentation_sheet(coco, entry.image_root, config, args))
        return 0
    try:
        made = browse(coco, entry.image_root, args.output, args.dataset, args.images)
    except OSError as error:
        raise InputError(error.filename or args.output, expected="a folder that can be written to",
                         found=error.strerror or str(error)) from error  # fmt: skip
    print(format_statistics(made.table))
    print("\n".join(map(str, [*made.sheets, made.plot, made.statistics])))
    return 0


def _augmentation_sheet(coco: dict[str, Any], image_root: Path, config: Path | None, args: argparse.Namespace) -> Path:
    from detectron2.config import get_cfg

    from nucleus.config import add_nucleus_config, load_config
    from nucleus.data.augmentation_sheet import augmentation_sheet
    from nucleus.data.mapper import NucleusMapper

    if config:
        cfg, source = load_config(config), Path(args.config_file).name
    else:
        cfg, source = get_cfg(), "nucleus's defaults"
        add_nucleus_config(cfg)
    return augmentation_sheet(coco, image_root, args.output, args.dataset, NucleusMapper(cfg, is_train=True), source)


def _anchors(coco: dict[str, Any], config: Path | None) -> str:
    if config is None:
        return compare_anchors(boxes_of(coco, SHORT_EDGE), Anchors())
    from nucleus.config import load_config

    cfg = load_config(config)
    generator = cfg.MODEL.ANCHOR_GENERATOR
    start = anchors_of_config(cfg.MODEL.RPN.IN_FEATURES, generator.SIZES, generator.ASPECT_RATIOS)
    return compare_anchors(boxes_of(coco, cfg.INPUT.UPSCALE_SHORT_EDGE), start, turns=cfg.INPUT.FLIP_AND_TURN)


def find_data_set(name: str, root: Path) -> Entry:
    """Find a data set's files by its registered name.

    Args:
        name: bbbc038_SPLIT, bbbc038_synthetic_SPLIT, or a name in the root's registry.
        root: the data root.

    Raises:
        InputError: there is no such name, or it is not converted yet.
    """
    if RESERVED.fullmatch(name):
        folder, split = name.rsplit("_", 1)
        entry = Entry(root / folder / "annotations" / f"bbbc038_{split}.json", root / folder)
    else:
        known = read_registry(root)
        if name not in known:
            listed = "".join(f", {other}" for other in known)
            raise InputError("--dataset", expected=f"bbbc038[_synthetic]_{{train,val,trainval,test}}{listed}",
                             found=name, remedy="See registry.json in the data root for your own.")  # fmt: skip
        entry = known[name]
    if not entry.json_file.is_file():
        raise InputError(entry.json_file, expected="a converted data set", found="nothing there",
                         remedy="Run `nucleus prepare` or `nucleus convert`, or give --root.")  # fmt: skip
    return entry
