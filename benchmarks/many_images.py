"""Score very many small label images from files: `python benchmarks/many_images.py --images 100000`.

Writes pairs of label images (64 x 64 pixels, 8-bit PNG) into a temporary folder and runs `nucleus evaluate` on a tenth
of them, and on all in one process and in several. Prints the time and the largest memory of each run, and fails if the
files that the last two wrote differ in one byte. What the main process needs for each image is the difference between
the first two: the counts of an image are kept, its pixels are not.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from nucleus.processes import available_cpus

SIDE = 64  # pixels
DISTINCT = 500  # images that are drawn; the others are copies of these, turned, mirrored and shifted
WRITTEN = ("scores.json", "scores.csv", "images.csv")
CHILD = """
import json, re, resource, sys, time
from nucleus.cli.main import main
if __name__ == "__main__":
    start = time.perf_counter()
    code = main(sys.argv[2:])
    # Not ru_maxrss of this process: that begins with what the process that started it had.
    own = int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
    peak = [kib // 1024 for kib in (own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)]
    with open(sys.argv[1], "w") as file:
        json.dump([time.perf_counter() - start, *peak], file)
    sys.exit(code)
"""


def draw(rng: np.random.Generator) -> np.ndarray:
    """Up to twelve disks, 8-bit labels."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for label in range(1, int(rng.integers(1, 13))):
        (row, column), radius = rng.integers(0, SIDE, 2), rng.integers(3, 9)
        labels[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = label
    return labels


def write_pairs(folder: Path, images: int, a_folder: int, seed: int = 0) -> None:
    """Write truth/N/NNNNNN.png and predicted/N/NNNNNN.png; predictions are the truth shifted, nuclei lost."""
    rng = np.random.default_rng(seed)
    drawn = [draw(rng) for _ in range(min(images, DISTINCT))]
    for number in range(images):
        truth = np.rot90(drawn[number % len(drawn)], number // len(drawn))
        predicted = np.roll(truth, tuple(rng.integers(-1, 2, 2)), axis=(0, 1))
        predicted = np.where(predicted == rng.integers(1, 13), 0, predicted)
        for side, labels in (("truth", truth), ("predicted", predicted)):
            path = folder / side / str(number // a_folder) / f"{number:06}.png"
            if number % a_folder == 0:
                path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), np.ascontiguousarray(labels))


def evaluate(folder: Path, truth: Path, output: str, workers: int) -> tuple[float, int, int]:
    """Run the command in a process of its own: seconds, MB of the main process, MB of the largest worker."""
    (folder / "child.py").write_text(CHILD)
    measured, predicted = folder / "measured.json", folder / "predicted" / truth.relative_to(folder / "truth")
    command = [sys.executable, folder / "child.py", measured, "evaluate", "--truth", truth, "--pred", predicted,
               "--output", folder / output, "--workers", workers, "--no-report"]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    seconds, main_memory, worker_memory = json.loads(measured.read_text())
    return seconds, main_memory, worker_memory


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2_000, metavar="N", help="pairs (default 2,000)")
    parser.add_argument("--workers", type=int, default=max(2, available_cpus()), metavar="N", help="of the third run")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="nucleus-"))
    try:
        start = time.perf_counter()
        a_folder = max(args.images // 10, 1)
        write_pairs(folder, args.images, a_folder)
        print(f"{args.images:,} pairs of {SIDE} x {SIDE} pixels written in {time.perf_counter() - start:.0f} s")
        print("| images | processes | seconds | images a second | main process, MB | largest worker, MB |")
        print("| ---: | ---: | ---: | ---: | ---: | ---: |")
        peaks = []
        runs = (("few", folder / "truth" / "0", 1, a_folder), ("one", folder / "truth", 1, args.images),
                ("several", folder / "truth", args.workers, args.images))  # fmt: skip
        for output, truth, workers, images in runs:
            seconds, own, worker = evaluate(folder, truth, output, workers)
            peaks.append(own)
            of_worker = worker if workers > 1 else "-"
            speed = f"{seconds:.1f} | {images / seconds:,.0f}"
            print(f"| {images:,} | {workers} | {speed} | {own} | {of_worker} |", flush=True)
        a_image = (peaks[1] - peaks[0]) * 1024 / (args.images - a_folder)
        print(f"Memory of the main process for each image: {a_image:.1f} KB")
        for name in WRITTEN:
            one, several = ((folder / output / name).read_bytes() for output in ("one", "several"))
            if one != several:
                print(f"{name} differs between one process and {args.workers}", file=sys.stderr)
                return 1
        print(f"{', '.join(WRITTEN)}: the same bytes from one process and from {args.workers}")
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
