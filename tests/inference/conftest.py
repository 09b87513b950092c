"""A segmenter that finds what is whole in a tile exactly, wherever it stands in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from nucleus.data.synthetic import make_field
from nucleus.formats.image_source import ImageSource, open_image
from nucleus.inference.frames import Frame
from nucleus.inference.prediction import Prediction
from nucleus.masks.box_masks import BoxMasks


def picture_of(labels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): the number of a nucleus in red and green, where there is one in blue."""
    return np.stack([labels // 256, labels % 256, (labels > 0) * 255], axis=2).astype(np.uint8)


class Segmenter:
    """Reads `picture_of` back, as `nucleus.inference.predictor.Model` would; a nucleus's score is by its number.

    Attributes:
        seen: the sizes of the pictures that it was shown.
    """

    threshold = 0.5
    scale: float | None = None

    def __init__(self, max_detections: int = 10_000) -> None:
        self.max_detections = max_detections
        self.seen: list[tuple[int, int]] = []

    def scale_of(self, height: int, width: int) -> float:
        return 1.0

    def predict_batch(self, images: Sequence[np.ndarray], *, frames: Sequence[Frame] | None = None) -> list[Prediction]:
        assert frames is None or all(frame.sample(one) is one for one, frame in zip(images, frames, strict=True))
        self.seen += [image.shape[:2] for image in images]
        return [self._predict(image.astype(np.int32)) for image in images]

    def _predict(self, image: np.ndarray) -> Prediction:
        labels = image[..., 0] * 256 + image[..., 1]
        found = [(number, box) for number, box in enumerate(ndimage.find_objects(labels), start=1) if box is not None]
        boxes = np.array([[x.start, y.start, x.stop, y.stop] for _, (y, x) in found]).reshape(-1, 4)
        masks = BoxMasks(boxes, [labels[box] == number for number, box in found], *labels.shape)
        scores = np.array([0.5 + (number % 100) / 200 for number, _ in found])
        return Prediction(masks, scores, self.threshold)


@pytest.fixture
def segmenter() -> Segmenter:
    return Segmenter()


@pytest.fixture(scope="session")
def new_segmenter() -> type[Segmenter]:
    return Segmenter


@pytest.fixture(name="picture_of", scope="session")
def _picture_of():
    return picture_of


@pytest.fixture(scope="session")
def same_nuclei():
    return differ_in_numbers_alone


@pytest.fixture(scope="session")
def truth() -> np.ndarray:
    """A dense field of tissue, int32 (512, 640), put together from the four images that it was cut into."""
    parts, count = [], 0
    for tile in make_field(seed=1, part="train", field=23):
        parts.append(np.where(tile.labels > 0, tile.labels + count, 0))
        count += tile.labels.max()
    labels = np.block([parts[:2], parts[2:]]).astype(np.int32)
    assert labels.shape == (512, 640) and labels.max() == count == len(np.unique(labels)) - 1 > 300
    return labels


@pytest.fixture
def source(truth, tmp_path) -> ImageSource:
    """The field as a TIFF in tiles."""
    path = tmp_path / "field.tif"
    tifffile.imwrite(path, picture_of(truth), tile=(128, 128), compression="zlib", photometric="rgb")
    return open_image(path)


@pytest.fixture(scope="session")
def pictures(truth, tmp_path_factory) -> Path:
    """A folder: three small pictures, one of them below, and a large one."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "below").mkdir()
    for name, labels in {"a": truth[:60, :80], "below/b": truth[60:120, :80], "c": truth[120:200, :60]}.items():
        tifffile.imwrite(folder / f"{name}.tif", picture_of(labels), photometric="rgb")
    tifffile.imwrite(folder / "large.tif", picture_of(truth), photometric="rgb")
    return folder


def differ_in_numbers_alone(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two label images differ in nothing but the numbers of the nuclei."""
    pairs = np.unique(np.stack([np.asarray(one).ravel(), np.asarray(other).ravel()]), axis=1)
    return bool(pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1])) and (pairs[:, 0] == 0).all())
