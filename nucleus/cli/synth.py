"""Write a look-alike of BBBC038: five modalities, exact truth, the same layout, any number of images.

The same seed gives the same bytes. A killed run goes on where it stopped when the command is given again.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nucleus.data.synthetic import write_synthetic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--root", type=Path, required=True, metavar="ROOT", help="data root to write, made if missing")
    parser.add_argument("--images", type=int, required=True, metavar="N", help="training images")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="whole number from 0 (default 0)")
    parser.add_argument("--test-images", type=int, metavar="M", help="test images (default: a tenth of N, at least 1)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="W", help="processes (default: all)"
    )
    parser.add_argument(
        "--max-size", type=int, metavar="P", help="largest side of an image in pixels (default: as real)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the set and say what it is."""
    made = write_synthetic(
        args.root, args.images, args.seed, test_images=args.test_images, workers=args.workers, max_size=args.max_size
    )
    print(f"{made.root}: {made.written} images with {made.nuclei} nuclei written, {made.kept} were there already")
    return 0
