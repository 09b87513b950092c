"""An image of a data set and its truth, read and decoded: what the way into the network starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from nucleus.errors import InputError
from nucleus.formats.image import read_image, to_rgb8
from nucleus.masks.rle import Rle, runs_of_many
from nucleus.masks.runs import label_image_from_runs

# A nucleus may lose this share of its pixels to others in one label image: at IoU 0.95, the strictest threshold of the
# DSB score, it still matches itself. In BBBC038 six lose up to two pixels, 0.6 %.
TOLERATED_LOSS = 0.05


@dataclass(frozen=True)
class Decoded:
    """An image and its nuclei.

    Attributes:
        image: uint8, (H, W) where all channels are alike, else RGB (H, W, 3).
        layers: label images (H, W), int16 or, from 32,768 nuclei on, int32; nucleus i has label i + 1 in one of them.
            One layer, unless masks overlap so much that more are needed to keep them.
    """

    image: np.ndarray
    layers: tuple[np.ndarray, ...]


def decode(record: dict[str, Any]) -> Decoded:
    """Read the image of a record and draw its masks.

    Args:
        record: as `nucleus.data.catalog.load_records` gives it.

    Raises:
        InputError: the image cannot be read, or its size is not the one in the annotations.
    """
    return Decoded(decode_image(record), draw_layers(record["rles"], record["height"], record["width"]))


def decode_image(record: dict[str, Any]) -> np.ndarray:
    """Read the image of a record.

    Returns:
        uint8, (H, W) where all channels are alike, else RGB (H, W, 3).

    Raises:
        InputError: see `decode`.
    """
    pixels = read_image(record["file_name"])
    if pixels.shape[:2] != (record["height"], record["width"]):
        raise InputError(
            record["file_name"],
            expected=f"{record['height']} x {record['width']} pixels",
            found=f"{pixels.shape[0]} x {pixels.shape[1]}",
            remedy="The image changed after the conversion: convert again.",
        )
    image = to_rgb8(pixels)
    red, green, blue = cv2.split(image)
    return red if np.array_equal(red, green) and np.array_equal(red, blue) else image


def draw_layers(rles: Sequence[Rle], height: int, width: int) -> tuple[np.ndarray, ...]:
    """Draw masks into as few label images as keep them.

    One is enough where no mask loses more than `TOLERATED_LOSS` of its pixels to earlier ones. Otherwise each mask goes
    whole into the first layer in which its pixels are free.

    Args:
        rles: COCO RLEs of size [height, width].
        height, width: in pixels.

    Returns:
        See `Decoded.layers`; at least one.
    """
    dtype = label_type(len(rles))
    runs = runs_of_many(rles)
    labels = label_image_from_runs(runs, height, width)
    areas = np.array([int((mask[:, 1] - mask[:, 0]).sum()) for mask in runs], dtype=np.int64)
    if areas.sum() > np.count_nonzero(labels):
        kept = np.bincount(labels.ravel(), minlength=len(runs) + 1)[1:]
        if (kept < (1 - TOLERATED_LOSS) * areas).any():
            return tuple(layer.astype(dtype) for layer in _separate(runs, height, width))
    return (labels.astype(dtype),)


def label_type(nuclei: int) -> type[np.int16] | type[np.int32]:
    """The smaller of the two integer types of label images that can count so many nuclei."""
    return np.int16 if nuclei < 2**15 else np.int32


def _separate(masks: Sequence[np.ndarray], height: int, width: int) -> list[np.ndarray]:
    layers: list[np.ndarray] = []  # down the columns, as the runs go
    for label, runs in enumerate(masks, start=1):
        pixels = np.concatenate([np.arange(start, stop) for start, stop in runs] or [np.zeros(0, dtype=np.int64)])
        free = (layer for layer in layers if not layer[pixels].any())
        layer = next(free, None)
        if layer is None:
            layer = np.zeros(height * width, dtype=np.int32)
            layers.append(layer)
        layer[pixels] = label
    return [np.ascontiguousarray(layer.reshape(width, height).T) for layer in layers]
