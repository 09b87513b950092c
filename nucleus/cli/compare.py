"""Is B better than A: the paired difference of each score, with an interval and a p value.

  nucleus compare old/ new/ --truth truth/ --output comparison/
  nucleus compare a/coco_instances_results.json b/coco_instances_results.json --truth bbbc038_test.json \\
      --score-threshold 0.76 --score-threshold-b 0.8

A, B and T are whatever `nucleus evaluate` reads: label images, COCO files or results, Kaggle CSV, GeoJSON, matched by
image name. Differences are B - A, so that above 0 B is better. Intervals (95 %, BCa bootstrap) and p values (paired
permutation test, exact where up to 13 units differ) take images as units, or groups of images where the truth or
--groups names groups. p values are not corrected for the number of scores: decide before which one counts.

Prints a table and the images that differ most; --output also writes comparison.json, with every score and every image,
and comparison.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nucleus.errors import InputError
from nucleus.evaluation.comparison import compare
from nucleus.evaluation.comparison_files import format_comparison, write_comparison
from nucleus.evaluation.groups import read_groups
from nucleus.evaluation.score_files import FileScores, score_files
from nucleus.evaluation.sources import open_source
from nucleus.processes import available_cpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("a", type=Path, metavar="A", help="file or folder with predicted nuclei")
    parser.add_argument("b", type=Path, metavar="B", help="others of the same images")
    parser.add_argument("--truth", type=Path, required=True, metavar="T", help="file or folder with the true nuclei")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for comparison.json and comparison.png")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the images, for sizes no file tells")
    parser.add_argument("--groups", type=Path, metavar="FILE", help="CSV with the columns image, modality, group")
    parser.add_argument(
        "--score-threshold", type=float, metavar="S", help="lowest score that counts, as evaluate has it"
    )
    parser.add_argument("--score-threshold-b", type=float, metavar="S", help="that of B, where it is another")
    parser.add_argument("--allow-missing", action="store_true", help="a missing prediction is an image without nuclei")
    parser.add_argument("--truth-suffix", default="", metavar="TEXT", help="end of the truth's names that is no part")
    parser.add_argument("--a-suffix", default="", metavar="TEXT", help="likewise of A, such as _cp_masks")
    parser.add_argument("--b-suffix", default="", metavar="TEXT", help="likewise of B")
    parser.add_argument("--workers", type=int, default=available_cpus(), metavar="N", help="processes (default: all)")


def run(args: argparse.Namespace) -> int:
    """Score both, compare, print and write."""
    truth = open_source(args.truth, suffix=args.truth_suffix)
    groups = None if args.groups is None else read_groups(args.groups)
    second = args.score_threshold if args.score_threshold_b is None else args.score_threshold_b
    sides = ((args.a, args.a_suffix, args.score_threshold), (args.b, args.b_suffix, second))
    scored = [
        score_files(
            truth,
            open_source(path, suffix=suffix, truth=truth),
            score_threshold=threshold,
            allow_missing=args.allow_missing,
            groups=groups,
            pictures=args.images,
            coco_ap=False,
            workers=args.workers,
            progress=True,
        )
        for path, suffix, threshold in sides
    ]
    _check_sizes(args.b, *scored)
    comparison = compare(scored[0].images, scored[1].images)
    print(format_comparison(comparison))
    print(f"\nA: {args.a}\nB: {args.b}")
    for side, one in zip("AB", scored, strict=True):
        for warning in one.warnings:
            print(f"WARNING: {side}: {warning}")
    if args.output is not None:
        settings = {side: one.settings for side, one in zip("AB", scored, strict=True)}
        try:
            print("Written:", *write_comparison(args.output, comparison, settings))
        except OSError as error:
            raise InputError(error.filename or args.output, expected="a folder that can be written to",
                             found=error.strerror or str(error)) from error  # fmt: skip
    return 0


def _check_sizes(path: Path, a: FileScores, b: FileScores) -> None:
    """Outlines have no size, so that each side may have given them its own."""
    sizes = {image.name: size for image, size in zip(a.images, a.sizes, strict=True)}
    for image, size in zip(b.images, b.sizes, strict=True):
        if size != sizes[image.name]:
            height, width = sizes[image.name]
            raise InputError(path, expected=f"{image.name} of {height} x {width} pixels, as in A",
                             found=f"{size[0]} x {size[1]}")  # fmt: skip
