#!/usr/bin/env python
"""The main job from nothing, on made-up images: synthesise, convert, look, train, evaluate. `make demo` runs it.

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
SCORES = TRAINING / "evaluation" / "bbbc038_synthetic_test"

STEPS = [
    ("Make images", f"synth --root {DATA} --images 80 --test-images 10 --max-size 256 --seed 1"),
    ("Convert them to COCO", f"prepare --source {DATA} --root {DATA}"),
    ("Look at them", f"browse --dataset bbbc038_synthetic_train --output {FOLDER / 'browse'}"),
    ("Train and evaluate", f"train --config-file configs/quick/demo.yaml OUTPUT_DIR {TRAINING}"),
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
    print(f"Scores:  {SCORES / 'scores.csv'} (the table above)")
    print(f"Data:    {FOLDER / 'browse'}")
    print(f"Picture: {SCORES / 'panels.png'} (image, truth, prediction, errors)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
