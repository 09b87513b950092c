"""Run-length encodings of masks: COCO's compressed RLE and the runs of the Kaggle competition.

Both run down the columns (Fortran order). COCO counts alternating runs of background and foreground; Kaggle lists
pairs of a 1-based start and a length.

COCO's string form is written by pycocotools where its buffer is long enough, and else here. What comes from a file is
checked before pycocotools sees it: its C code reads and writes beyond its memory where counts lie.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

Rle = dict[str, Any]

# Five bits a character from '0' on, 'P' to 'o' if the count goes on. Eight characters hold any count of an image; a
# string that ends within a count would send pycocotools' decoder past its end.
COUNTS = re.compile("(?:[P-o]{0,7}[0-O])*")
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
    height, width = mask.shape
    flat = np.asarray(mask, dtype=bool).T.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0] if flat[0] else []  # no background before the first run
    return rle_from_counts(first + np.diff(edges, prepend=0, append=flat.size).tolist(), height, width)


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
    values = [count - counts[place - 2] if place > 2 else count for place, count in enumerate(counts)]
    return {"size": size, "counts": "".join(map(_characters, values))}


def _characters(value: int) -> str:
    """A signed number as COCO's string form has it: the inverse of `_numbers`."""
    text = ""
    while not -16 <= value < 16:
        text += chr(48 + 0x20 + (value & 0x1F))
        value >>= 5
    return text + chr(48 + (value & 0x1F))


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
    counts = np.diff(edges, prepend=0, append=height * width).tolist()
    return rle_from_counts(counts if counts[-1] or len(counts) == 1 else counts[:-1], height, width)


def decode_coco(rle: Rle) -> np.ndarray:
    """Decode COCO RLE, compressed (str or bytes) or uncompressed (list of counts), to bool (H, W).

    Raises:
        ValueError: see `runs_from_coco`.
    """
    height, width = rle["size"]
    runs = runs_from_coco(rle)
    columns = np.zeros(height * width, dtype=bool)
    for start, stop in runs.tolist():
        columns[start:stop] = True
    return np.ascontiguousarray(columns.reshape(width, height).T)


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
    return {"size": [height, width], "counts": _checked_text(rle["counts"])}


def _checked_text(counts: Any) -> str:
    text = counts.decode("ascii", "replace") if isinstance(counts, bytes) else counts
    if not isinstance(text, str) or not COUNTS.fullmatch(text):
        raise ValueError(f"expected counts as a COCO string, found {str(text)[:40]!r}")
    return text


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
    return [rle_from_counts(one if one[-1] else one[:-1], height, width) for one in counts]


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
    counts = rle["counts"]
    numbers = _counts_from_list(counts) if isinstance(counts, list) else _counts_from_string(_checked_text(counts))
    edges = np.cumsum(numbers)
    _check_inside(numbers, edges, height * width)
    return numbers, edges


def _runs(edges: np.ndarray) -> np.ndarray:
    if edges.size % 2:  # the last run is background
        edges = edges[:-1]
    runs = edges.reshape(-1, 2)
    return runs[runs[:, 1] > runs[:, 0]]


def _counts_from_list(counts: list[Any]) -> np.ndarray:
    if not all(isinstance(count, int) and 0 <= count < 1 << 40 for count in counts):
        raise ValueError("expected counts that are whole numbers of at least 0, found others")
    return np.array(counts, dtype=np.int64)


def _check_inside(counts: np.ndarray, edges: np.ndarray, size: int | np.ndarray) -> None:
    """A sum that wrapped around has passed the size before, since no count can be larger than 2**40."""
    if counts.size and (counts.min() < 0 or (edges > size).any()):
        raise ValueError("expected runs inside the image, found one that leaves it")


def runs_of_many(rles: Sequence[Rle]) -> list[np.ndarray]:
    """What `runs_from_coco` gives, of each of many RLEs, decoded together.

    Raises:
        ValueError: see `runs_from_coco`.
    """
    texts = [rle["counts"] for rle in rles]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        return [runs_from_coco(rle) for rle in rles]
    for text in texts:
        _checked_text(text)
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
    pixels = np.array([rle["size"][0] * rle["size"][1] for rle in rles], dtype=np.int64)
    _check_inside(counts, edges, np.repeat(pixels, sizes))
    stops = np.flatnonzero(odd)
    runs = np.stack([edges[stops - 1], edges[stops]], axis=1)
    return [part[part[:, 1] > part[:, 0]] for part in np.split(runs, np.cumsum(sizes // 2)[:-1])]


def pixels_from_coco(rle: Rle) -> np.ndarray:
    """Foreground pixels of an RLE as 0-based column-major offsets, ascending: int64 (P,)."""
    runs = runs_from_coco(rle)
    lengths = runs[:, 1] - runs[:, 0]
    # The n-th pixel overall is its run's start plus its place in the run.
    return np.repeat(runs[:, 0] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())


def _counts_from_string(text: str) -> np.ndarray:
    """Undo COCO's string form: five bits a character from '0', sign-extended, differences to the count two before.

    Source: `rleFrString` in the COCO API's maskApi.c.
    """
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
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
