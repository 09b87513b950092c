"""COCO's run-length encoding of masks (RLE): {"size": [H, W], "counts": ...}, the counts in COCO's string form.

The string form is written by pycocotools where its buffer is long enough, and else by `nucleus.masks.coco_counts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from nucleus.masks.coco_counts import (
    check_inside,
    checked_counts,
    checked_string,
    counts_from_strings,
    strings_from_counts,
    sums_of_each,
)
from nucleus.masks.runs import count_up, label_image_from_runs, mask_from_runs, runs_from_mask, runs_of_labels

Rle = dict[str, Any]

# pycocotools has room for six characters a count and none for the end of the string: below this many pixels five do.
ROOM = 1 << 24


def encode_coco(mask: np.ndarray) -> Rle:
    """Encode one mask as COCO compressed RLE.

    Args:
        mask: boolean or 0/1 array (H, W).

    Returns:
        {"size": [H, W], "counts": str}, ready for JSON.
    """
    if mask.size < ROOM:
        rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
    return rle_from_runs(runs_from_mask(mask), *mask.shape)


def rle_from_counts(counts: Sequence[int], height: int, width: int) -> Rle:
    """Compress uncompressed counts.

    Args:
        counts: lengths of background and foreground in turn, down the columns: whole numbers of at least 0 that add up
            to height x width, as the caller has seen to.
        height: H in pixels.
        width: W in pixels.

    Returns:
        {"size": [H, W], "counts": str}.
    """
    size = [height, width]
    if 0 < height * width < ROOM:
        rle = coco_mask.frPyObjects({"size": size, "counts": counts}, height, width)
        return {"size": size, "counts": rle["counts"].decode("ascii")}
    texts = strings_from_counts(np.array(counts, dtype=np.int64), np.array([len(counts)])) if counts else [""]
    return {"size": size, "counts": texts[0]}


def rle_from_runs(runs: np.ndarray, height: int, width: int) -> Rle:
    """Compress runs.

    Args:
        runs: int64 (R, 2), start and stop of each, 0-based offsets down the columns, ascending and none empty; those
            that touch become one.
        height: H in pixels.
        width: W in pixels.

    Returns:
        {"size": [H, W], "counts": str}.
    """
    edges = runs.ravel()
    apart = np.flatnonzero(edges[1:-1:2] != edges[2::2])  # gaps between runs that are none
    edges = np.concatenate([edges[:1], edges[1:-1].reshape(-1, 2)[apart].ravel(), edges[-1:]])
    return _rle_from_edges(edges, height, width)


def _rle_from_edges(edges: np.ndarray, height: int, width: int) -> Rle:
    """From the start and stop of each run, no two the same."""
    counts = np.diff(edges, prepend=0, append=height * width).tolist()
    return rle_from_counts(counts if counts[-1] or len(counts) == 1 else counts[:-1], height, width)


def decode_coco(rle: Rle) -> np.ndarray:
    """Decode COCO RLE, compressed (str or bytes) or uncompressed (list of counts), to bool (H, W).

    Raises:
        ValueError: see `runs_from_coco`.
    """
    return mask_from_runs(runs_from_coco(rle), *rle["size"])


def coco_area(rle: Rle) -> int:
    """Number of foreground pixels of a compressed RLE; ValueError if it is no string of counts."""
    return int(coco_mask.area(_sound(rle)))


def coco_box(rle: Rle) -> list[int]:
    """Tight box XYWH in pixels of a compressed RLE, all zero for an empty mask; ValueError as for `coco_area`."""
    return [int(value) for value in coco_mask.toBbox(_sound(rle))]


def _sound(rle: Rle) -> Rle:
    """The RLE, if pycocotools can look at it without leaving its memory."""
    height, width = rle["size"]
    if height < 1 or width < 1:
        return {"size": [1, 1], "counts": ""}
    return {"size": [height, width], "counts": checked_string(rle["counts"])}


def label_image_from_coco(rles: Sequence[Rle], height: int, width: int) -> np.ndarray:
    """Draw COCO RLEs into one label image: RLE i becomes label i + 1, an earlier one keeps shared pixels.

    Runs in time proportional to the number of runs plus one pass over the image, never N x H x W.

    Args:
        rles: compressed RLEs of size [height, width].
        height: H in pixels.
        width: W in pixels.

    Returns:
        int32 (H, W).
    """
    return label_image_from_runs(runs_of_many(rles), height, width)


def rles_from_label_image(labels: np.ndarray) -> list[Rle]:
    """Encode the nuclei of a label image as COCO compressed RLE.

    Args:
        labels: integers (H, W), 0 background.

    Returns:
        {"size": [H, W], "counts": str} of each label, the labels ascending.
    """
    return [_rle_from_edges(runs.ravel(), *labels.shape) for runs in runs_of_labels(labels)]


def runs_from_coco(rle: Rle) -> np.ndarray:
    """Half-open foreground runs of an RLE as 0-based column-major offsets.

    Args:
        rle: {"size", "counts"} with counts a compressed str/bytes or a list.

    Returns:
        int64 (R, 2): start and stop of each run.

    Raises:
        ValueError: the counts are no string or list of whole numbers of at least 0, or leave the image.
    """
    return _runs(_checked_counts(rle)[1])


def runs_of_many(rles: Sequence[Rle]) -> list[np.ndarray]:
    """What `runs_from_coco` gives, of each of many RLEs, decoded together.

    Raises:
        ValueError: see `runs_from_coco`.
    """
    texts = [rle["counts"] for rle in rles]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        return [runs_from_coco(rle) for rle in rles]
    counts, lengths = counts_from_strings(texts)
    edges = sums_of_each(counts, lengths)
    pixels = np.array([rle["size"][0] * rle["size"][1] for rle in rles], dtype=np.int64)
    check_inside(counts, edges, np.repeat(pixels, lengths))
    stops = np.flatnonzero(count_up(lengths) % 2 == 1)
    runs = np.stack([edges[stops - 1], edges[stops]], axis=1)
    return [part[part[:, 1] > part[:, 0]] for part in np.split(runs, np.cumsum(lengths // 2)[:-1])]


def normal_coco(rle: Rle) -> Rle:
    """The RLE as `encode_coco` gives it: checked, compressed, its counts adding up to the image and none empty.

    Args:
        rle: see `runs_from_coco`.

    Raises:
        ValueError: see `runs_from_coco`.
    """
    height, width = rle["size"]
    counts, edges = _checked_counts(rle)
    text = rle["counts"]
    if isinstance(text, str) and edges.size and edges[-1] == height * width and counts[1:].all():
        return {"size": [height, width], "counts": text}
    return rle_from_runs(_runs(edges), height, width)


def _checked_counts(rle: Rle) -> tuple[np.ndarray, np.ndarray]:
    """Counts and their sums up to each."""
    height, width = rle["size"]
    counts = checked_counts(rle["counts"])
    edges = np.cumsum(counts)
    check_inside(counts, edges, height * width)
    return counts, edges


def _runs(edges: np.ndarray) -> np.ndarray:
    if edges.size % 2:  # the last run is background
        edges = edges[:-1]
    runs = edges.reshape(-1, 2)
    return runs[runs[:, 1] > runs[:, 0]]
