"""A table of the nuclei, one a line: area, place, axes, shape and intensity, as scikit-image's regionprops has them.

Columns: `label`, `score`; `area_px`, `centroid_y_px`, `centroid_x_px`, `axis_major_px`, `axis_minor_px` (of the ellipse
with the same second moments), `eccentricity`, `solidity`; with a known pixel size, area, centroid and axes again in
micrometres (`area_um2`, the others `_um`); with an image, `intensity_mean_*`, `_min_*` and `_max_*` of every channel,
in the values stored. The centroid is 0 at the centre of the first pixel, half a pixel less than in GeoJSON.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nucleus.formats.atomic import atomic_write
from nucleus.formats.image_source import ImageSource
from nucleus.formats.stored import PixelSize
from nucleus.masks.nuclei import boxes_of_labels

BLOCK = 1024  # pixels a side: nuclei that begin in one block are measured together
IN_PIXELS = {
    "area": "area_px",
    "centroid-0": "centroid_y_px",
    "centroid-1": "centroid_x_px",
    "axis_major_length": "axis_major_px",
    "axis_minor_length": "axis_minor_px",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
}
IN_MICROMETRES = {
    "area": "area_um2",
    "centroid-0": "centroid_y_um",
    "centroid-1": "centroid_x_um",
    "axis_major_length": "axis_major_um",
    "axis_minor_length": "axis_minor_um",
}
INTENSITY = ("intensity_mean", "intensity_min", "intensity_max")

Columns = dict[str, np.ndarray]


def measure(
    labels: np.ndarray,
    scores: Sequence[float] | np.ndarray | None = None,
    *,
    image: ImageSource | None = None,
    pixel_size_um: PixelSize | None = None,
) -> Columns:
    """Measure every nucleus.

    Args:
        labels: integers (H, W), 0 background; also an array on disk, of which a block is read at a time.
        scores: of label 1, 2, ..., in [0, 1]; None where unknown, and then no column.
        image: of the same size, of which every channel is measured; None for no intensities.
        pixel_size_um: height and width of a pixel in micrometres; None for the image's own, or no micrometres.

    Returns:
        The columns, each (N,), by ascending label; their names stand above.

    Raises:
        ValueError: the image has another size than the label image, or there are fewer scores than the largest label.
        InputError: the image cannot be decoded.
    """
    if image is not None and image.shape[:2] != labels.shape:
        raise ValueError(f"expected an image of {labels.shape} pixels, found {image.shape[:2]}")
    if image is not None and pixel_size_um is None:
        pixel_size_um = image.pixel_size_um
    ids, boxes = boxes_of_labels(labels)
    columns: Columns = {"label": ids}
    if scores is not None:
        if len(ids) and len(scores) < ids[-1]:
            raise ValueError(f"expected a score for each label up to {ids[-1]}, found {len(scores)} scores")
        columns["score"] = np.asarray(scores, dtype=np.float64)[ids - 1]
    names = _names(image, pixel_size_um)
    columns |= {name: np.full(len(ids), np.nan) for name in names}
    for chosen in _together(boxes):
        for name, values in _measured(labels, ids[chosen], boxes[chosen], image, pixel_size_um).items():
            columns[name][chosen] = values
    return columns


def _names(image: ImageSource | None, pixel_size_um: PixelSize | None) -> list[str]:
    names = [*IN_PIXELS.values()]
    if pixel_size_um is not None:
        names += IN_MICROMETRES.values()
    if image is not None:
        names += [f"{one}_{channel}" for channel in image.every_channel for one in INTENSITY]
    return names


def _together(boxes: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of nuclei that are measured in one go: those whose boxes begin in the same block."""
    block = boxes[:, [1, 0]] // BLOCK
    order = np.lexsort((block[:, 1], block[:, 0]))
    starts = np.flatnonzero((np.diff(block[order], axis=0, prepend=-1) != 0).any(axis=1))
    yield from np.split(order, starts[1:]) if len(order) else ()


def _measured(
    labels: np.ndarray, ids: np.ndarray, boxes: np.ndarray, image: ImageSource | None, pixel_size_um: PixelSize | None
) -> Columns:
    """The columns of a few nuclei, by ascending label: `ids` ascend."""
    from skimage.measure import regionprops_table  # slow to import

    (left, top), (right, bottom) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    region = np.asarray(labels[top:bottom, left:right]).astype(np.int64)
    place = np.minimum(np.searchsorted(ids, region), len(ids) - 1)
    region = np.where(ids[place] == region, place + 1, 0)  # numbers from 1 on, without the nuclei of other blocks
    pixels = None if image is None else image.read_every_channel(top, left, bottom, right)
    shapes = ("area", "centroid", "axis_major_length", "axis_minor_length", "eccentricity", "solidity")
    found = regionprops_table(region, pixels, properties=shapes + (INTENSITY if image is not None else ()))
    found["centroid-0"] += top
    found["centroid-1"] += left
    columns = {name: found[key] for key, name in IN_PIXELS.items()}
    if image is not None:
        for number, channel in enumerate(image.every_channel):
            columns |= {f"{one}_{channel}": found[f"{one}-{number}"] for one in INTENSITY}
    if pixel_size_um is not None:
        found = regionprops_table(region, spacing=pixel_size_um, properties=shapes[:4])
        found["centroid-0"] += top * pixel_size_um[0]
        found["centroid-1"] += left * pixel_size_um[1]
        columns |= {name: found[key] for key, name in IN_MICROMETRES.items()}
    return columns


def write_measurements_csv(
    path: str | Path,
    labels: np.ndarray,
    scores: Sequence[float] | np.ndarray | None = None,
    *,
    image: ImageSource | None = None,
    pixel_size_um: PixelSize | None = None,
) -> None:
    """Measure every nucleus and write the table, in UTF-8, with ten significant digits.

    Args:
        path: the file to write; a killed run leaves the old file or the new one.
        labels: see `measure`.
        scores: see `measure`.
        image: see `measure`.
        pixel_size_um: see `measure`.

    Raises:
        ValueError: see `measure`.
        InputError: see `measure`.
        OSError: the disk is full or not writable.
    """
    columns = measure(labels, scores, image=image, pixel_size_um=pixel_size_um)
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for values in zip(*columns.values(), strict=True):
            writer.writerow([int(values[0]), *("" if np.isnan(value) else f"{value:.10g}" for value in values[1:])])
