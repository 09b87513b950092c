"""Run-length encodings of masks: COCO's compressed RLE and the runs of the Kaggle competition.

Both run down the columns (Fortran order). COCO counts alternating runs of background and foreground; Kaggle lists
pairs of a 1-based start and a length. The codec of COCO's string form is pycocotools' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

Rle = dict[str, Any]


def encode_coco(mask: np.ndarray) -> Rle:
    """Encode one mask as COCO compressed RLE.

    Args:
        mask: boolean or 0/1 array (H, W).

    Returns:
        {"size": [H, W], "counts": str}, ready for JSON.
    """
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_coco(rle: Rle) -> np.ndarray:
    """Decode COCO RLE, compressed (str or bytes) or uncompressed (list of counts), to bool (H, W)."""
    if isinstance(rle["counts"], list):
        rle = coco_mask.frPyObjects(rle, *rle["size"])
    return coco_mask.decode(rle).astype(bool)


def coco_area(rle: Rle) -> int:
    """Number of foreground pixels of a compressed RLE."""
    return int(coco_mask.area(rle))


def coco_box(rle: Rle) -> list[int]:
    """Tight box XYWH in pixels of a compressed RLE; all zero for an empty mask."""
    return [int(value) for value in coco_mask.toBbox(rle)]


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


def label_image_from_runs(masks: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Draw masks given by their runs into one label image: mask i becomes label i + 1, an earlier one keeps its pixels.

    Args:
        masks: for each mask int64 (R, 2), start and stop of its runs, as 0-based offsets down the columns.
        height: H in pixels.
        width: W in pixels.

    Returns:
        int32 (H, W).
    """
    columns = np.zeros(height * width, dtype=np.int32)
    for index in range(len(masks), 0, -1):  # backwards, so that the earlier mask is drawn over the later one
        for start, stop in masks[index - 1].tolist():
            columns[start:stop] = index
    # OpenCV transposes by blocks, several times faster than a copy along the other axis; it has no empty arrays.
    return cv2.transpose(columns.reshape(width, height)) if columns.size else columns.reshape(height, width)


def rles_from_label_image(labels: np.ndarray) -> list[Rle]:
    """Encode the nuclei of a label image as COCO compressed RLE.

    Args:
        labels: integers (H, W), 0 background.

    Returns:
        {"size": [H, W], "counts": str} of each label, the labels ascending.
    """
    height, width = labels.shape
    columns = labels.T.ravel()
    if columns.size == 0:
        return []
    starts = np.concatenate([[0], np.flatnonzero(columns[1:] != columns[:-1]) + 1])
    stops = np.append(starts[1:], columns.size)
    runs = np.stack([starts, stops], axis=1)[columns[starts] != 0]
    label_of_run = columns[runs[:, 0]]
    order = np.argsort(label_of_run, kind="stable")
    firsts = np.flatnonzero(np.diff(label_of_run[order])) + 1
    masks = np.split(runs[order], firsts) if runs.size else []
    counts = [np.diff(mask.ravel(), prepend=0, append=columns.size).tolist() for mask in masks]
    return [_compress(one if one[-1] else one[:-1], height, width) for one in counts]


def _compress(counts: list[int], height: int, width: int) -> Rle:
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def runs_from_coco(rle: Rle) -> np.ndarray:
    """Half-open foreground runs of an RLE as 0-based column-major offsets.

    Args:
        rle: {"size", "counts"} with counts a compressed str/bytes or a list.

    Returns:
        int64 (R, 2): start and stop of each run.
    """
    counts = rle["counts"]
    edges = np.cumsum(counts if isinstance(counts, list) else _counts_from_string(counts))
    if edges.size % 2:  # the last run is background
        edges = edges[:-1]
    runs = edges.reshape(-1, 2)
    return runs[runs[:, 1] > runs[:, 0]]


def runs_of_many(rles: Sequence[Rle]) -> list[np.ndarray]:
    """What `runs_from_coco` gives, of each of many RLEs, decoded together."""
    texts = [rle["counts"] for rle in rles]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        return [runs_from_coco(rle) for rle in rles]
    codes = np.frombuffer("".join(texts).encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    firsts = np.concatenate([[0], np.cumsum([len(text) for text in texts])[:-1]])  # first character of each RLE
    values = _numbers(codes)
    sizes = np.add.reduceat((codes & 0x20) == 0, firsts, dtype=np.int64)  # counts of each RLE
    begins = np.cumsum(sizes) - sizes
    place = np.arange(len(values)) - np.repeat(begins, sizes)
    # As in `_counts_from_string`, every sum beginning anew with each RLE.
    odd = place % 2 == 1
    counts = np.where(place == 0, values, 0)
    for chain in (odd, ~odd & (place > 0)):
        sums = np.cumsum(np.where(chain, values, 0))
        counts = np.where(chain, sums - np.repeat(sums[begins] - np.where(chain, values, 0)[begins], sizes), counts)
    edges = np.cumsum(counts)
    edges -= np.repeat(edges[begins] - counts[begins], sizes)
    stops = np.flatnonzero(odd)
    runs = np.stack([edges[stops - 1], edges[stops]], axis=1)
    return [part[part[:, 1] > part[:, 0]] for part in np.split(runs, np.cumsum(sizes // 2)[:-1])]


def pixels_from_coco(rle: Rle) -> np.ndarray:
    """Foreground pixels of an RLE as 0-based column-major offsets, ascending: int64 (P,)."""
    runs = runs_from_coco(rle)
    lengths = runs[:, 1] - runs[:, 0]
    # The n-th pixel overall is its run's start plus its place in the run.
    return np.repeat(runs[:, 0] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())


def _counts_from_string(text: str | bytes) -> np.ndarray:
    """Undo COCO's string form: five bits a character from '0', sign-extended, differences to the count two before.

    Source: `rleFrString` in the COCO API's maskApi.c.
    """
    codes = np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, dtype=np.uint8).astype(np.int64) - 48
    if codes.size == 0:
        return np.zeros(0, dtype=np.int64)
    values = _numbers(codes)
    # counts[i] += counts[i - 2] for i > 2: a running sum over each parity, the very first count standing alone.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _numbers(codes: np.ndarray) -> np.ndarray:
    """The signed numbers that characters stand for: five bits each, the sixth set in all but a number's last."""
    is_last = (codes & 0x20) == 0
    starts = np.concatenate([[0], np.flatnonzero(is_last)[:-1] + 1])
    lengths = np.diff(np.concatenate([starts, [codes.size]]))
    position = np.arange(codes.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 0x1F) << (5 * position), starts)
    negative = (codes[starts + lengths - 1] & 0x10) != 0
    values[negative] -= np.int64(1) << (5 * lengths[negative])
    return values


def encode_kaggle(mask: np.ndarray) -> str:
    """Encode one mask as the competition's runs: "start length start length ...", 1-based, down the columns.

    Args:
        mask: boolean or 0/1 array (H, W).

    Returns:
        The runs; an empty string for an empty mask.
    """
    flat = np.concatenate([[0], np.asarray(mask, dtype=bool).T.ravel(), [0]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(flat))
    starts, stops = edges[::2], edges[1::2]
    return " ".join(f"{start + 1} {stop - start}" for start, stop in zip(starts, stops, strict=True))


def decode_kaggle(runs: str, height: int, width: int) -> np.ndarray:
    """Decode the competition's runs to a mask.

    Args:
        runs: "start length ..." with 1-based starts, down the columns, strictly increasing and not overlapping.
        height: H in pixels.
        width: W in pixels.

    Returns:
        bool (H, W).

    Raises:
        ValueError: the runs are not pairs of positive whole numbers, do not increase, or leave the image.
    """
    columns = np.zeros(height * width, dtype=bool)
    for start, stop in runs_from_kaggle(runs, height, width):
        columns[start:stop] = True
    return np.ascontiguousarray(columns.reshape(width, height).T)


def runs_from_kaggle(runs: str, height: int, width: int) -> np.ndarray:
    """Half-open foreground runs of the competition's form, as 0-based offsets down the columns.

    Args:
        runs: as `decode_kaggle` takes them.
        height: H in pixels.
        width: W in pixels.

    Returns:
        int64 (R, 2): start and stop of each run.

    Raises:
        ValueError: see `decode_kaggle`.
    """
    words = runs.split()
    if len(words) % 2:
        raise ValueError(f"expected pairs of start and length, found {len(words)} numbers")
    try:
        numbers = np.array([int(word) for word in words], dtype=np.int64).reshape(-1, 2)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"expected whole numbers, found {str(error)[:80]}") from None
    starts, lengths = numbers[:, 0] - 1, numbers[:, 1]
    stops = starts + lengths
    if (starts < 0).any() or (lengths < 1).any():
        raise ValueError("expected starts and lengths of at least 1")
    if (starts[1:] < stops[:-1]).any():
        raise ValueError("expected runs that increase without overlap")
    # Compared before the addition could matter: a start or a length near 2**63 would wrap around.
    if (starts >= height * width).any() or (lengths > height * width - starts).any():
        raise ValueError(f"expected runs inside {height} x {width} pixels, found one that leaves the image")
    return np.stack([starts, stops], axis=1)
