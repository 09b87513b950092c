"""Make your own images a data set to train and evaluate on. No image is copied.

  nucleus convert --images DIR --labels DIR --output mine.json --name mine
  nucleus convert --images DIR --coco theirs.json --output mine.json --name mine

Label images are PNG or TIFF, 0 for background and one whole number a nucleus, named as their images. A COCO file may
hold polygons or RLE of either form. With --name, the set is listed in $DETECTRON2_DATASETS/registry.json, and
DATASETS.TRAIN and DATASETS.TEST know it by that name.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nucleus.data.own_images import convert_coco, convert_label_images
from nucleus.data.registry import check_name, register_set
from nucleus.errors import InputError
from nucleus.processes import available_cpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the images")
    truth = parser.add_mutually_exclusive_group(required=True)
    truth.add_argument("--labels", type=Path, metavar="DIR", help="folder of the label images")
    truth.add_argument("--coco", type=Path, metavar="FILE", help="COCO file")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="COCO file to write")
    parser.add_argument("--name", metavar="NAME", help="register the set under this name")
    parser.add_argument("--label-suffix", default="", metavar="TEXT", help="end of the label images' names, as _masks")
    parser.add_argument("--category", metavar="NAME", help="of the COCO file, take this category only")
    parser.add_argument("--workers", type=int, default=available_cpus(), metavar="N", help="processes (default: all)")


def run(args: argparse.Namespace) -> int:
    """Convert, register, and say what there is."""
    if args.name is not None:
        check_name(args.name)  # before the work
    if args.coco is None and args.category is not None:
        raise InputError("--category", expected="--coco with it", found="--labels, which know no categories")
    if args.coco is not None and args.label_suffix:
        raise InputError("--label-suffix", expected="--labels with it", found="--coco")
    try:
        if args.coco is not None:
            counts = convert_coco(
                args.coco, args.images, args.output, category=args.category, workers=args.workers, progress=True
            )
        else:
            counts = convert_label_images(
                args.images,
                args.labels,
                args.output,
                label_suffix=args.label_suffix,
                workers=args.workers,
                progress=True,
            )
        print(f"{args.output}: {counts['images']} images, {counts['nuclei']} nuclei")
        if args.name is not None:
            root = os.environ.get("DETECTRON2_DATASETS", "datasets")
            path = register_set(root, args.name, args.output, args.images)
            print(f"Registered as {args.name} in {path}")
    except OSError as error:
        raise InputError(error.filename or args.output, expected="a folder that can be written to",
                         found=error.strerror or str(error)) from error  # fmt: skip
    return 0
