"""Pairs of a true and a predicted label image: random ones, and real ones with the errors that models make."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage

from nucleus.masks.kaggle_runs import runs_from_kaggle
from nucleus.masks.runs import label_image_from_runs, runs_from_mask

Pair = tuple[np.ndarray, np.ndarray]


def random_disks(rng: np.random.Generator, height: int, width: int, count: int) -> np.ndarray:
    """Disks that may touch, hide each other or be cut by the border, as a label image with gaps in its labels."""
    rows, columns = np.ogrid[:height, :width]
    labels = np.zeros((height, width), dtype=np.int32)
    for label in rng.choice(np.arange(1, 5 * count + 5), size=count, replace=False):
        row, column, radius = rng.integers(height), rng.integers(width), rng.integers(1, 9)
        labels[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = label
    return labels


def perturb(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the nuclei again with errors: eroded, grown, shifted, split, merged with another, lost or invented."""
    predicted = np.zeros(labels.shape, dtype=np.int32)
    boxes = ndimage.find_objects(labels)
    for label in rng.permutation(np.unique(labels[labels != 0])):
        rows, columns = boxes[label - 1]
        window = slice(max(rows.start - 3, 0), rows.stop + 3), slice(max(columns.start - 3, 0), columns.stop + 3)
        mask = labels[window] == label
        target, free = predicted[window], int(predicted.max()) + 1
        match rng.choice(["keep", "erode", "grow", "shift", "split", "merge", "lose"]):
            case "keep":
                target[mask] = free
            case "erode":
                target[ndimage.binary_erosion(mask)] = free
            case "grow":
                target[ndimage.binary_dilation(mask, iterations=int(rng.integers(1, 3)))] = free
            case "shift":
                target[np.roll(mask, tuple(rng.integers(-2, 3, size=2)), axis=(0, 1))] = free
            case "split":
                half = np.arange(mask.shape[1]) < mask.shape[1] // 2
                target[mask & half] = free
                target[mask & ~half] = free + 1
            case "merge":
                target[mask] = max(free - 1, 1)
    for _ in range(rng.integers(0, 3)):
        row, column = rng.integers(labels.shape[0]), rng.integers(labels.shape[1])
        predicted[row : row + 4, column : column + 5] = predicted.max() + 1
    return predicted


@pytest.fixture(scope="session")
def random_pairs() -> list[Pair]:
    """200 pairs of 1 x 1 to 70 x 90 pixels and up to 30 nuclei, some without any on one side or both."""
    pairs = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = random_disks(rng, int(rng.integers(1, 71)), int(rng.integers(1, 91)), int(rng.integers(0, 31)))
        pairs.append((truth, perturb(truth, rng)))
    return pairs


@pytest.fixture(scope="session")
def real_pairs(bbbc038_source: Path) -> list[Pair]:
    """All 65 test images and 12 training images of BBBC038, each with its masks perturbed."""
    truths = [*_test_truths(bbbc038_source), *_training_truths(bbbc038_source, 12)]
    return [(truth, perturb(truth, np.random.default_rng(seed))) for seed, truth in enumerate(truths)]


def _test_truths(source: Path) -> Iterator[np.ndarray]:
    sizes: dict[str, tuple[int, int]] = {}
    masks: dict[str, list[np.ndarray]] = {}
    with (source / "stage1_solution.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            size = sizes[row["ImageId"]] = int(row["Height"]), int(row["Width"])
            masks.setdefault(row["ImageId"], []).append(runs_from_kaggle(row["EncodedPixels"], *size))
    for image_id in sorted(masks):
        yield label_image_from_runs(masks[image_id], *sizes[image_id])


def _training_truths(source: Path, count: int) -> Iterator[np.ndarray]:
    with zipfile.ZipFile(source / "stage1_train.zip") as archive:
        masks: dict[str, list[str]] = {}
        for name in sorted(archive.namelist()):
            if "/masks/" in name and name.endswith(".png"):
                masks.setdefault(name.split("/")[0], []).append(name)
        for image_id in list(masks)[:: len(masks) // count][:count]:
            decoded = [
                cv2.imdecode(np.frombuffer(archive.read(name), dtype=np.uint8), cv2.IMREAD_GRAYSCALE) > 0
                for name in masks[image_id]
            ]
            yield label_image_from_runs([runs_from_mask(mask) for mask in decoded], *decoded[0].shape)


@pytest.fixture
def agree() -> Callable[..., None]:
    """Compare scores case by case with a reference's, NaN equal to NaN; `pytest -rP` prints the largest difference."""

    def compare(
        score: str, reference: str, found: Sequence[float], expected: Sequence[float], tolerance: float
    ) -> None:
        difference = np.abs(np.asarray(found, dtype=float) - np.asarray(expected, dtype=float))
        difference[np.isnan(found) & np.isnan(expected)] = 0
        print(f"{score} | {reference} | {difference.size} cases | largest difference {difference.max():.1e}")
        assert (difference <= tolerance).all()

    return compare
