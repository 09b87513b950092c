"""A small data set in BBBC038's layout, drawn by hand, that tests damage as they need."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np

from nucleus.masks.kaggle_runs import encode_kaggle

HEIGHT, WIDTH = 40, 50
TRAIN_IDS = ("aa01", "bb02", "cc03")
TEST_IDS = ("dd04", "ee05")
BOXES = {"m1": (2, 3, 10, 12), "m2": (20, 20, 8, 9), "m3": (30, 5, 15, 6)}  # XYWH of the three masks of each image
HEADER = "ImageId,EncodedPixels,Height,Width,Usage\n"


def mask_of(name: str, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """One of the masks, uint8 (H, W), 0 and 255."""
    left, top, width, height = BOXES[name]
    mask = np.zeros(size, np.uint8)
    mask[top : top + height, left : left + width] = 255
    return mask


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def write(path: Path, content: bytes | np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else png(content))
    return path


def picture(seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Noise on black with bright nuclei, BGRA."""
    grey = np.random.default_rng(seed).integers(0, 40, size, dtype=np.uint8)
    for name in BOXES:
        grey[mask_of(name, size) > 0] = 200
    return cv2.merge([grey, grey, grey, np.full_like(grey, 255)])


def image_path(folder: Path, image_id: str) -> Path:
    part = "stage1_train" if image_id in TRAIN_IDS else "stage1_test"
    return folder / part / image_id / "images" / f"{image_id}.png"


def mask_path(folder: Path, image_id: str, name: str) -> Path:
    return folder / "stage1_train" / image_id / "masks" / f"{name}.png"


def solution_line(image_id: str, runs: str, height: int = HEIGHT, width: int = WIDTH) -> str:
    return f"{image_id},{runs},{height},{width},Public\n"


def write_small_set(folder: Path) -> Path:
    """Write three training images and two test images with three nuclei each; returns the folder."""
    lines = HEADER
    for number, image_id in enumerate(TRAIN_IDS + TEST_IDS):
        write(image_path(folder, image_id), picture(number))
        for name in BOXES:
            if image_id in TRAIN_IDS:
                write(mask_path(folder, image_id, name), mask_of(name))
            else:
                lines += solution_line(image_id, encode_kaggle(mask_of(name) > 0))
    (folder / "stage1_solution.csv").write_text(lines)
    return folder


def zip_part(folder: Path, part: str, archive: Path, below: str = "") -> Path:
    """Pack a part as the publisher does, the ImageIds at the top or in a folder; entries of folders included."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted((folder / part).rglob("*")):
            packed.write(path, below + path.relative_to(folder / part).as_posix())
    return archive


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, with its content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
