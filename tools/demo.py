#!/usr/bin/env python
"""The main job from nothing, on made-up images: make, convert, look, train, predict, score. `make demo` runs it.

Every step is a command of its own, printed before it runs, so that the same can be done with real data.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path("output/demo")
DATASETS = FOLDER / "datasets"
DATA = DATASETS / "bbbc038_synthetic"
TRAINING = FOLDER / "training"
NUCLEI = FOLDER / "nuclei"
SCORES = FOLDER / "scores"

STEPS = [
    ("Make images", f"synth --root {DATA} --images 80 --test-images 10 --max-size 256 --seed 1"),
    ("Convert them to COCO", f"prepare --source {DATA} --root {DATA}"),
    ("Look at them", f"browse --dataset bbbc038_synthetic_train --output {FOLDER / 'browse'}"),
    ("Train and evaluate", f"train --config-file configs/quick/demo.yaml OUTPUT_DIR {TRAINING}"),
    (
        "Find the nuclei of new images",
        f"predict {DATA / 'stage1_test'} --output {NUCLEI} --weights {TRAINING / 'model_final.pth'} --overwrite "
        "--format labels,geojson,measurements,overlay",
    ),
    (
        "Score them, with a report",
        f"evaluate --truth {DATA / 'annotations' / 'bbbc038_test.json'} --pred {NUCLEI} --pred-suffix _labels "
        f"--images {DATA / 'stage1_test'} --output {SCORES}",
    ),
]


def main() -> int:
    """Run the steps; returns the exit code of the first that fails."""
    started = time.monotonic()
    os.chdir(Path(__file__).resolve().parent.parent)
    os.environ["DETECTRON2_DATASETS"] = str(DATASETS)
    shutil.rmtree(TRAINING, ignore_errors=True)  # the data are kept and found again, the training starts anew
    for number, (title, command) in enumerate(STEPS, start=1):
        print(f"\n== {number}/{len(STEPS)} {title}: nucleus {command}", flush=True)
        code = subprocess.run([sys.executable, "-m", "nucleus", *command.split()]).returncode
        if code:
            print(f"make demo: step {number} ended with exit code {code}; its reason stands above", file=sys.stderr)
            return code
    print(f"\n== Done in {time.monotonic() - started:.0f} s")
    print(f"Report:  {SCORES / 'report.html'} (the table above, curves, the worst images)")
    print(f"Nuclei:  {NUCLEI} (label images, GeoJSON for QuPath, measurements, overlays)")
    print(f"Data:    {FOLDER / 'browse'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
