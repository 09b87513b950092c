"""The nuclei of a label image one at a time, each as a small crop, so that what writes them need not hold them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from nucleus.masks.box_masks import BoxMasks

BATCH = 256  # nuclei encoded together
BAND = 1024  # rows looked at together; a label image on disk is read that much at a time


@dataclass(frozen=True, eq=False)
class Nucleus:
    """One nucleus of an image.

    Attributes:
        label: its number in the label image, 1 or more.
        box: XYXY in whole pixels, left and top inside, right and bottom just outside; tight.
        mask: bool (bottom - top, right - left).
        score: in [0, 1], NaN if unknown.
    """

    label: int
    box: tuple[int, int, int, int]
    mask: np.ndarray
    score: float = float("nan")


def boxes_of_labels(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the box of every nucleus in one pass, whatever numbers the labels are.

    Args:
        labels: integers (H, W), 0 background; also an array on disk, which is read by bands of rows.

    Returns:
        The labels, int64 (N,), ascending, and their tight boxes, int64 (N, 4), XYXY in whole pixels.
    """
    parts = [_boxes_in_band(np.asarray(labels[top : top + BAND]), top) for top in range(0, labels.shape[0], BAND)]
    found = np.concatenate([np.zeros((0, 5), dtype=np.int64), *parts])
    merged = _merge(found)
    return merged[:, 0], merged[:, 1:]


def _boxes_in_band(band: np.ndarray, top: int) -> np.ndarray:
    """Label and box of each nucleus in a band of rows: int64 (N, 5)."""
    height, width = band.shape
    padded = np.zeros((height, width + 1), dtype=band.dtype)  # no run goes on in the next row
    padded[:, :-1] = band
    flat = padded.ravel()
    edges = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    starts, stops = edges[:-1], edges[1:]
    inside = flat[starts] != 0
    starts, stops = starts[inside], stops[inside]
    row, left = np.divmod(starts, width + 1)
    row += top
    return _merge(np.stack([flat[starts].astype(np.int64), left, row, left + stops - starts, row + 1], axis=1))


def _merge(found: np.ndarray) -> np.ndarray:
    """One row a label, its box around all of its boxes, labels ascending: int64 (N, 5)."""
    if not len(found):
        return found
    found = found[np.argsort(found[:, 0], kind="stable")]
    first = np.flatnonzero(np.diff(found[:, 0], prepend=found[0, 0] - 1))
    low = np.minimum.reduceat(found[:, 1:3], first, axis=0)
    high = np.maximum.reduceat(found[:, 3:5], first, axis=0)
    return np.hstack([found[first, :1], low, high])


def iterate_nuclei(labels: np.ndarray, scores: Sequence[float] | np.ndarray | None = None) -> Iterator[Nucleus]:
    """Give the nuclei of a label image in ascending order of their labels.

    Holds 40 bytes a nucleus and one crop at a time.

    Args:
        labels: integers (H, W), 0 background, gaps allowed; also an array on disk.
        scores: of label 1, 2, ...; one for each number up to the largest label.

    Yields:
        Each nucleus with its crop.

    Raises:
        ValueError: there are fewer scores than the largest label.
    """
    ids, boxes = boxes_of_labels(labels)
    if scores is not None and len(ids) and len(scores) < ids[-1]:
        raise ValueError(f"expected a score for each label up to {ids[-1]}, found {len(scores)} scores")
    for label, (left, top, right, bottom) in zip(ids.tolist(), boxes.tolist(), strict=True):
        mask = np.asarray(labels[top:bottom, left:right]) == label
        score = float("nan") if scores is None else float(scores[label - 1])
        yield Nucleus(label, (left, top, right, bottom), mask, score)


def in_batches(nuclei: Iterable[Nucleus], height: int, width: int) -> Iterator[tuple[list[Nucleus], BoxMasks]]:
    """Gather nuclei of one image, 256 at a time, into BoxMasks, which encode many at once.

    Args:
        nuclei: of the image, in any number.
        height: H of the image in pixels.
        width: W of the image in pixels.

    Yields:
        Nuclei and their masks, in the same order; none empty.
    """
    iterator = iter(nuclei)
    while batch := list(islice(iterator, BATCH)):
        boxes = np.array([nucleus.box for nucleus in batch], dtype=np.int64)
        yield batch, BoxMasks(boxes, [nucleus.mask for nucleus in batch], height, width)
