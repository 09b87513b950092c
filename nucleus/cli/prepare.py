"""Convert BBBC038 to the COCO files that training and evaluation read.

  nucleus prepare --source FOLDER_WITH_THE_ARCHIVES --root datasets/bbbc038
  nucleus prepare --download --root datasets/bbbc038

Takes archives or extracted folders. What is wrong with the files is mended where that is safe, counted here and in
annotations/report.json; --strict stops at it instead. A killed run goes on when the command is given again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nucleus.data.converter import ANNOTATIONS, REPORT, prepare
from nucleus.data.download import BBBC038, fetch_all
from nucleus.processes import available_cpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--root", type=Path, required=True, metavar="ROOT", help="data root to write")
    parser.add_argument("--source", type=Path, metavar="DIR", help="stage1_train, stage1_test (.zip or folder) and "
                        "stage1_solution.csv (default: ROOT)")  # fmt: skip
    parser.add_argument("--workers", type=int, default=available_cpus(), metavar="N", help="processes (default: all)")
    parser.add_argument("--strict", action="store_true", help="stop at the first thing that is wrong")
    parser.add_argument("--download", action="store_true", help="fetch what is missing in --source first")
    parser.add_argument("--address", default=BBBC038, metavar="URL", help=f"where from (default: {BBBC038})")


def run(args: argparse.Namespace) -> int:
    """Convert, and print what was found."""
    source = args.source or args.root
    if args.download:
        fetch_all(args.address, source, progress=True)
    report = prepare(source, args.root, workers=args.workers, strict=args.strict, progress=True)
    print(summary(report))
    print(f"Written to {args.root / ANNOTATIONS}; every case is in {REPORT} there.")
    return 0


def summary(report: dict[str, Any]) -> str:
    """The report as text: a table of splits and modalities, then what was mended."""
    splits = report["splits"]
    rows = [["images (nuclei)", *splits]]
    for modality in splits["train"]["modalities"]:
        counts = [splits[split]["modalities"][modality] for split in splits]
        rows.append([modality, *(f"{count['images']} ({count['nuclei']})" for count in counts)])
    rows.append(["all", *(f"{count['images']} ({count['nuclei']})" for count in splits.values())])
    rows.append(["groups", *(str(count["groups"]) for count in splits.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    across = report["groups across train and test"]
    if across:
        lines.append(f"\n{len(across)} fields of view have tiles in both stage1_train and stage1_test.")
    lines.append("\nRepairs:" if report["repairs"] else "\nNothing had to be repaired.")
    for kind, repair in report["repairs"].items():
        lines.append(f"  {repair['count']} x {kind}: {repair['action']}")
    if report["pixels shared by masks"]:
        lines.append(f"  Overlapping masks share {report['pixels shared by masks']} pixels in all.")
    return "\n".join(lines)
