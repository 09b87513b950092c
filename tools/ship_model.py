#!/usr/bin/env python
"""Make a model of the zoo from what training and evaluation wrote: weights, config, model.json and its card.

  python tools/ship_model.py --name lite --weights output/lite/model_final.pth \\
      --val-scores output/lite/evaluation/bbbc038_val/scores.json \\
      --test-scores output/lite_test/evaluation/bbbc038_test/scores.json

The weights are stored in half precision, loaded again as a user would, and compared with the trained ones on test
images; the speed is measured. Nothing is replaced before all of that went well.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # works without installation

from nucleus.cli.third_parties import silence_third_parties
from nucleus.errors import InputError

if TYPE_CHECKING:
    from nucleus.inference.predictor import Model
    from nucleus.zoo.zoo_model import Agreement, Speed

REPOSITORY = Path(__file__).resolve().parent.parent
COMPARED, AT = 16, 0.9  # images, and the IoU of a match
LEAST_AGREEMENT = 0.98  # object F1 at that IoU, below which nothing is shipped
TIMED, SIDE, ROUNDS = 8, 256, 5  # made-up images, their side in pixels, and how often they are predicted


def main(arguments: Sequence[str] | None = None) -> int:
    """Ship; returns the exit code."""
    args = parser().parse_args(arguments)
    silence_third_parties()
    try:
        for line in ship(args):
            print(line)
    except InputError as error:
        print(f"ship_model: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--name", required=True, help="of the model: lower-case letters, digits, - and _")
    options.add_argument(
        "--weights",
        type=Path,
        required=True,
        metavar="W",
        help="checkpoint with its score threshold, in the folder of its training",
    )
    options.add_argument("--test-scores", type=Path, required=True, metavar="FILE", help="scores.json on the test set")
    options.add_argument("--val-scores", type=Path, metavar="FILE", help="scores.json on the validation set")
    options.add_argument("--after", action="append", default=[], metavar="DIR",
                         help="an earlier run, or a model of the zoo (nucleus://NAME), that this one went on from; may "
                         "be repeated, in order")  # fmt: skip
    options.add_argument("--url", help="where the weights will be fetched from (default: they ship)")
    options.add_argument("--data-licence", metavar="TEXT", help="of the training data (default: known for BBBC038)")
    options.add_argument("--models", type=Path, default=REPOSITORY / "nucleus" / "zoo" / "models", metavar="DIR",
                         help="folder of models to write into (default: the package's)")  # fmt: skip
    options.add_argument("--cards", type=Path, default=REPOSITORY / "docs" / "models", metavar="DIR",
                         help="folder of cards (default: docs/models)")  # fmt: skip
    return options


def ship(args: argparse.Namespace) -> list[str]:
    """Make the model in a folder of its own, try it, put it in its place, and write its card; returns what to say."""
    from nucleus.inference.predictor import load_model
    from nucleus.zoo.card import write_card
    from nucleus.zoo.manifest import NAME, write_model
    from nucleus.zoo.ship import make_model

    if not NAME.fullmatch(args.name):
        raise InputError("--name", expected="lower-case letters, digits, - and _", found=args.name)
    run = args.weights.parent
    staging = args.models / ".staging" / args.name
    others = [] if args.val_scores is None else [args.val_scores]
    try:
        model = make_model(staging, weights=args.weights, runs=[*args.after, run], test_scores=args.test_scores,
                           other_scores=others, url=args.url, data_licence=args.data_licence)  # fmt: skip
        truth, images = test_set(model.tested_on)
        stored = staging / "weights.safetensors"
        trained = load_model(weights=args.weights, config_file=run / "config.yaml", device="cpu", precision="float32")
        shipped = load_model(weights=stored, device="cpu", precision="float32")
        agreement = compare(trained, shipped, truth, images)
        speed = measure_speed(load_model(weights=stored, device="cpu"))
        model = dataclasses.replace(model, agreement=agreement, speed=speed)
        write_model(staging, model)
        place, before = args.models / args.name, args.models / ".before" / args.name
        if place.exists():
            shutil.rmtree(before, ignore_errors=True)
            before.parent.mkdir(exist_ok=True)
            place.replace(before)  # aside, and gone only when the new one is in its place
        staging.replace(place)
        shutil.rmtree(before, ignore_errors=True)
        with suppress(OSError):  # not there, or it holds another model, of a kill
            before.parent.rmdir()
    finally:
        shutil.rmtree(staging.parent, ignore_errors=True)
    said = []
    if args.url is not None:  # not in the package then
        upload = args.weights.parent / "upload" / model.weights.file
        upload.parent.mkdir(exist_ok=True)
        shutil.move(place / "weights.safetensors", upload)
        said.append(f"Put {upload} at {args.url}")
    card = write_card(args.cards / f"{args.name}.md", model, run=run, test_scores=args.test_scores, truth=truth,
                      images=images)  # fmt: skip
    return [f"{place}: {model.weights.bytes:,} bytes of weights, object F1@{AT:.2f} {agreement.object_f1:.4f} against "
            f"the trained ones", *said, *map(str, card)]  # fmt: skip


def test_set(name: str) -> tuple[Path | None, Path | None]:
    """COCO file and image folder of a registered data set; None where it is not on this machine."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from nucleus.data.catalog import register_all

    register_all()
    if name not in DatasetCatalog.list():
        return None, None
    metadata = MetadataCatalog.get(name)
    truth = Path(metadata.json_file)
    return (truth, Path(metadata.image_root)) if truth.is_file() else (None, None)


def compare(trained: Model, shipped: Model, truth: Path | None, images: Path | None) -> Agreement:
    """Predict the same images with both; at evenly spaced test images, or at made-up ones where those are not here.

    Raises:
        InputError: they differ.
    """
    from nucleus.evaluation.matching import matched_pairs
    from nucleus.masks.overlap import overlap_table
    from nucleus.zoo.zoo_model import Agreement

    pictures = made_up() if truth is None or images is None else from_test_set(truth, images)
    nuclei = matches = total = 0
    for picture in pictures:
        one, other = (model.predict(picture).label_image for model in (trained, shipped))
        table = overlap_table(one, other)
        nuclei += len(table.truth_ids)
        total += len(table.truth_ids) + len(table.prediction_ids)
        matches += len(matched_pairs(table, AT))
    f1 = 2 * matches / total if total else 1.0
    if f1 < LEAST_AGREEMENT:
        raise InputError("the weights in float16", expected=f"the same nuclei, object F1@{AT:.2f} of {LEAST_AGREEMENT}",
                         found=f"{f1:.3f}")  # fmt: skip
    source = "made up" if truth is None else "evenly spaced in the test set"
    return Agreement(images=len(pictures), source=source, nuclei=nuclei, object_f1=round(f1, 5))


def from_test_set(truth: Path, images: Path) -> list[np.ndarray]:
    """Evenly spaced images of a COCO file, uint8 (H, W, 3)."""
    from nucleus.formats.coco import read_coco
    from nucleus.formats.image import read_image, to_rgb8

    names = sorted(image["file_name"] for image in read_coco(truth)["images"])
    chosen = np.linspace(0, len(names) - 1, min(COMPARED, len(names))).round().astype(int)
    return [to_rgb8(read_image(images / names[number])) for number in chosen]


def made_up() -> list[np.ndarray]:
    """Images of all modalities, uint8 (SIDE, SIDE, 3)."""
    from nucleus.data.synthetic import make_field

    tiles = [make_field(seed=0, part="test", field=field, max_size=SIDE)[0] for field in range(4 * TIMED)]
    square = [tile.image[:SIDE, :SIDE] for tile in tiles]
    return [image for image in square if image.shape == (SIDE, SIDE, 3)][:TIMED]


def measure_speed(model: Model) -> Speed:
    """Median time from pixels to label image."""
    import torch

    from nucleus.inference.predictor import LowPrecision
    from nucleus.zoo.zoo_model import Speed

    pictures = made_up()
    for picture in pictures:
        model.predict(picture)
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for picture in pictures:
            _ = model.predict(picture).label_image
        seconds.append(time.perf_counter() - start)
    backbone = model.network.backbone
    threads = torch.get_num_threads()
    precision = str(backbone.dtype).removeprefix("torch.") if isinstance(backbone, LowPrecision) else "float32"
    return Speed(round(len(pictures) / statistics.median(seconds), 2), SIDE,
                 f"{processor()}, {threads} {'thread' if threads == 1 else 'threads'}", precision)  # fmt: skip


def processor() -> str:
    """The name of the CPU, or its kind where the system does not say."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] else os.uname().machine


if __name__ == "__main__":
    sys.exit(main())
