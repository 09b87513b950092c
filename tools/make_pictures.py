#!/usr/bin/env python
"""Make the pictures of README.md and docs/ again, after a model or a page has changed.

    nucleus train --config-file nucleus://lite --eval-only DATASETS.TEST "('bbbc038_test',)" OUTPUT_DIR output/lite_test
    python tools/make_pictures.py --evaluation output/lite_test/evaluation/bbbc038_test

makes test_panels, report, app, bbbc038_test_sheet and augmented in docs/images. Needs the converted BBBC038
($DETECTRON2_DATASETS) and Chromium. dask_scaling is made by benchmarks/dask_scaling.py, the pictures of a model card by
tools/ship_model.py; tensorboard is a screenshot taken by hand.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from nucleus.visualization.panel import save_panels
from nucleus.zoo.card import image_panels, worst_to_best
from nucleus.zoo.manifest import find_model

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1280, 900  # of a page
SAFE = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
QUALITY = 85
CONFIG = "configs/quick/mask_rcnn_lite0_FPN.yaml"


def save(picture: Image.Image, place: Path, width: int) -> None:
    """As JPEG, no wider than that."""
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    picture.convert("RGB").save(place, quality=QUALITY, optimize=True)
    print(f"{place}: {picture.width} x {picture.height}")


def run(*arguments: object) -> None:
    """Run a command of nucleus."""
    subprocess.run([sys.executable, "-m", "nucleus", *map(str, arguments)], check=True, cwd=ROOT)


@contextmanager
def served(*command: object) -> Iterator[str]:
    """A server in a process of its own, on a free port that is added to its command; its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([*map(str, command), "--port", str(port)], cwd=ROOT, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(address).close()
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait()


def page(browser: Any, address: str, place: Path, show: Callable[[Any], None]) -> None:
    """Open a page, bring it to where it is worth a picture, and take that."""
    one = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    one.goto(address, wait_until="networkidle")
    show(one)
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        one.screenshot(path=file.name)
        with Image.open(file.name) as picture:
            save(picture, place, WIDTH)
    one.close()


def typical_images(evaluation: Path, place: Path) -> None:
    """Draw truth, prediction and errors of the image with the median DSB score of each modality."""
    scores = evaluation / "scores.json"
    by_modality: dict[str, list[dict[str, str]]] = {}
    for row in worst_to_best(evaluation / "images.csv"):
        by_modality.setdefault(row["modality"], []).append(row)
    rows = [rows[(len(rows) - 1) // 2] for rows in sorted(by_modality.values(), key=len, reverse=True)]
    data = Path(os.environ["DETECTRON2_DATASETS"]) / "bbbc038"
    truth = data / "annotations" / "bbbc038_test.json"
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        save_panels(file.name, image_panels(rows, find_model("lite"), scores, truth, data))
        with Image.open(file.name) as picture:
            save(picture, place, WIDTH)


def show_nuclei(one: Any) -> None:
    """On the page of nuclei: an example, with a nucleus chosen."""
    one.click("#example-list li:nth-child(4) button")
    one.wait_for_function("() => document.getElementById('name').textContent !== ''", timeout=120_000)
    one.focus("#table")
    one.keyboard.press("ArrowDown")
    one.wait_for_timeout(1000)


def main() -> None:
    """Make what can be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluation", type=Path, required=True, metavar="DIR", help="of the model on bbbc038_test")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images", metavar="DIR")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    args.output.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("DETECTRON2_DATASETS", "datasets")
    typical_images(args.evaluation, args.output / "test_panels.jpg")
    with tempfile.TemporaryDirectory() as folder:
        run("browse", "--dataset", "bbbc038_test", "--output", folder, "--images", 4)
        run("browse", "--dataset", "bbbc038_train", "--output", folder, "--augmented", "--config-file", CONFIG)
        for name, place, width in (
            ("bbbc038_test_sheet_1", "bbbc038_test_sheet", 1400), ("bbbc038_train_augmented", "augmented", 1500),
        ):  # fmt: skip
            with Image.open(Path(folder) / f"{name}.png") as picture:
                save(picture, args.output / f"{place}.jpg", width)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=SAFE)
        report = (args.evaluation / "report.html").resolve().as_uri()
        page(browser, report, args.output / "report.jpg", lambda one: None)
        with served(sys.executable, "-m", "nucleus", "app") as address:
            page(browser, address, args.output / "app.jpg", show_nuclei)
        browser.close()


if __name__ == "__main__":
    main()
