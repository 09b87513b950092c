"""Score predicted nuclei against true ones, both in files; no model is needed.

  nucleus evaluate --truth truth/ --pred predicted/ --output scores/
  nucleus evaluate --truth bbbc038_test.json --pred coco_instances_results.json --output scores/

Truth and predictions are each a folder of label images (PNG or TIFF, 0 for background and one whole number a nucleus),
a COCO file, COCO results, the Kaggle competition's CSV of run lengths, or a folder of GeoJSON files. Images are matched
by name without ending. Prints the scores and writes scores.json, scores.csv, images.csv, report.html and report.md.

Of detections with scores those at or above the score threshold become nuclei, and each pixel goes to the highest-scored
one. COCO files and results hold every guess of a model, so that the threshold is 0.5 where nobody said; the nuclei of a
GeoJSON file all count. Choose a threshold on validation images, never on those that are scored.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from nucleus.errors import InputError
from nucleus.evaluation.evaluate_files import evaluate_files
from nucleus.evaluation.score_files import MAX_DETECTIONS
from nucleus.processes import available_cpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--truth", type=Path, required=True, metavar="T", help="file or folder with the true nuclei")
    parser.add_argument("--pred", type=Path, required=True, metavar="P", help="file or folder with the predicted ones")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the images, for the report's pictures")
    parser.add_argument("--groups", type=Path, metavar="FILE", help="CSV with the columns image, modality, group")
    parser.add_argument("--score-threshold", type=float, metavar="S", help="lowest score that counts (see above)")
    parser.add_argument("--allow-missing", action="store_true", help="a missing prediction is an image without nuclei")
    parser.add_argument("--truth-suffix", default="", metavar="TEXT", help="end of the truth's names that is no part")
    parser.add_argument("--pred-suffix", default="", metavar="TEXT", help="likewise, such as _cp_masks")
    parser.add_argument("--no-coco-ap", action="store_true", help="leave COCO AP out: it needs all masks in memory")
    parser.add_argument(
        "--max-detections", type=int, default=MAX_DETECTIONS, metavar="N",
        help=f"detections of an image that COCO AP counts (default {MAX_DETECTIONS})",
    )  # fmt: skip
    parser.add_argument("--no-report", action="store_true", help="write no report.html and report.md")
    parser.add_argument("--workers", type=int, default=available_cpus(), metavar="N", help="processes (default: all)")


def run(args: argparse.Namespace) -> int:
    """Score, write, and print the tables."""
    try:
        evaluation = evaluate_files(
            args.truth,
            args.pred,
            args.output,
            truth_suffix=args.truth_suffix,
            prediction_suffix=args.pred_suffix,
            score_threshold=args.score_threshold,
            allow_missing=args.allow_missing,
            groups=args.groups,
            pictures=args.images,
            coco_ap=not args.no_coco_ap,
            max_detections=args.max_detections,
            report=not args.no_report,
            command=_command(args),
            workers=args.workers,
            progress=True,
        )
    except OSError as error:
        raise InputError(error.filename or args.output, expected="a folder that can be written to",
                         found=error.strerror or str(error)) from error  # fmt: skip
    print(evaluation.text)
    print()
    for name, value in evaluation.scores.settings.items():
        print(f"{name}: {value}")
    for warning in evaluation.scores.warnings:
        print(f"WARNING: {warning}")
    print("Written:", ", ".join(str(path) for path in evaluation.files))
    return 0


def _command(args: argparse.Namespace) -> str:
    """The command with all its options, defaults too, as one would type it."""
    words = ["nucleus", "evaluate"]
    for name, value in vars(args).items():
        if value is not None and value is not False and value != "":
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)
