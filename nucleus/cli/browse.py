"""Show a data set: contact sheets of images with the outlines of their truth, and sizes and counts by modality.

Writes NAME_sheet_1.png ..., NAME_statistics.png and NAME_statistics.csv, and prints the table.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nucleus.data.registry import RESERVED, Entry, read_registry
from nucleus.errors import InputError
from nucleus.formats.coco import read_coco
from nucleus.visualization.browse import browse
from nucleus.visualization.statistics import format_statistics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--dataset", required=True, metavar="NAME", help="such as bbbc038_train, or one of `nucleus convert`"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument("--images", type=int, default=5, metavar="N", help="images of each modality (default 5)")
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="data root (default: $DETECTRON2_DATASETS, else datasets)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the pictures and print the table."""
    entry = find_data_set(args.dataset, args.root or Path(os.environ.get("DETECTRON2_DATASETS", "datasets")))
    made = browse(read_coco(entry.json_file), entry.image_root, args.output, args.dataset, args.images)
    print(format_statistics(made.table))
    print("\n".join(map(str, [*made.sheets, made.plot, made.statistics])))
    return 0


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
