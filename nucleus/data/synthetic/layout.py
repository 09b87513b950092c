"""The look-alike's files in BBBC038's layout: names, one image's folder, the solution's lines, and whose the root is.

An image's folder is filled under `ROOT/.synthetic-partial` and renamed into place, so that a folder that exists is
finished. `ROOT/synthetic.json` says what the set was made from, and keeps a look-alike from being mixed with real data.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from nucleus.data.synthetic.fields import Tile
from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.masks.kaggle_runs import encode_kaggle

GENERATOR = 1  # raised whenever the same seed would give other bytes
STATE = "synthetic.json"
PARTIAL = ".synthetic-partial"
SOLUTION = "stage1_solution.csv"
SOLUTION_HEADER = ("ImageId", "EncodedPixels", "Height", "Width", "Usage")
PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 3)  # halves the time of the default for a few per cent of space


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the bytes of an image beside its number."""

    seed: int
    max_size: int | None
    generator: int = GENERATOR


def image_id(seed: int, part: str, image: int) -> str:
    """The name of an image: 64 hexadecimal digits, as in BBBC038.

    Args:
        seed: of the whole set.
        part: "train" or "test".
        image: its number in the part, from 0.
    """
    return hashlib.sha256(f"nucleus synthetic {seed} {part} {image}".encode()).hexdigest()


def image_folder(root: Path, part: str, name: str) -> Path:
    """The folder of an image; it exists only once the image is finished."""
    return root / f"stage1_{part}" / name


def write_image_folder(root: Path, part: str, name: str, tile: Tile, alpha: bool) -> None:
    """Write images/NAME.png and, for a training image, masks/HASH.png, one a nucleus; all or nothing.

    Args:
        root: data root.
        part: "train" or "test".
        name: the image's id.
        tile: picture and truth.
        alpha: store RGBA, as most of BBBC038, or RGB.

    Raises:
        OSError: the disk is full or not writable.
    """
    filling = root / PARTIAL / name
    shutil.rmtree(filling, ignore_errors=True)  # what a killed run left
    try:
        (filling / "images").mkdir(parents=True)
        code = cv2.COLOR_RGB2BGRA if alpha else cv2.COLOR_RGB2BGR
        _write_png(filling / "images" / f"{name}.png", cv2.cvtColor(tile.image, code))
        if part == "train":
            (filling / "masks").mkdir()
            for label in range(1, int(tile.labels.max(initial=0)) + 1):
                mask_name = hashlib.sha256(f"{name} {label}".encode()).hexdigest()
                _write_png(filling / "masks" / f"{mask_name}.png", (tile.labels == label).astype(np.uint8) * 255)
        target = image_folder(root, part, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        filling.rename(target)
    finally:
        shutil.rmtree(filling, ignore_errors=True)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    _, content = cv2.imencode(".png", pixels, PNG_OPTIONS)
    path.write_bytes(content.tobytes())  # cv2.imwrite would not say that the disk is full


def solution_lines(name: str, labels: np.ndarray) -> str:
    """The lines of stage1_solution.csv for one test image, a nucleus a line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    height, width = labels.shape
    for label in range(1, int(labels.max(initial=0)) + 1):
        writer.writerow((name, encode_kaggle(labels == label), height, width, "Public"))
    return text.getvalue()


def claim_root(root: Path, recipe: Recipe, images: dict[str, int]) -> bool:
    """Note in the root what it is to hold, after checking that it holds nothing else.

    Args:
        root: data root; made if missing.
        recipe: what the images are made from.
        images: how many, for "train" and "test".

    Returns:
        Whether an earlier run finished exactly this set.

    Raises:
        InputError: the root holds real data, another look-alike or a larger one, or its synthetic.json is broken.
    """
    state_file = root / STATE
    if not state_file.exists():
        for name in ("stage1_train", "stage1_test", SOLUTION):
            if (root / name).exists():
                raise InputError(root / name, expected=f"an empty root, or one with {STATE}", found="other data",
                                 remedy="Give --root a folder of its own.")  # fmt: skip
        _write_state(root, recipe, images, finished=False)
        return False
    try:
        state = json.loads(state_file.read_text())
        found, had, finished = Recipe(**state["recipe"]), dict(state["images"]), bool(state["finished"])
        smaller = found == recipe and any(images[part] < int(had[part]) for part in images)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(state_file, expected="what `nucleus synth` wrote", found=f"{error!r}"[:120],
                         remedy="Delete the root and run it again.") from error  # fmt: skip
    if found != recipe or smaller:
        asked = f"at most {images} images" if smaller else f"a look-alike made from {asdict(recipe)}"
        raise InputError(root, expected=asked, found=f"{had} images" if smaller else f"one made from {asdict(found)}",
                         remedy="Give --root another folder, or delete this one.")  # fmt: skip
    if finished and had == images and (root / SOLUTION).is_file():
        return True
    _write_state(root, recipe, images, finished=False)
    return False


def finish_root(root: Path, recipe: Recipe, images: dict[str, int]) -> None:
    """Note that the set is complete, and clear what killed runs left half-filled."""
    _write_state(root, recipe, images, finished=True)
    shutil.rmtree(root / PARTIAL, ignore_errors=True)


def _write_state(root: Path, recipe: Recipe, images: dict[str, int], finished: bool) -> None:
    with atomic_write(root / STATE) as temporary:
        temporary.write_text(
            json.dumps({"recipe": asdict(recipe), "images": images, "finished": finished}, indent=1) + "\n"
        )
