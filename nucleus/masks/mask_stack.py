"""Stacks of masks, as models give them: N whole images with one small nucleus each."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from nucleus.masks.rle import Rle

_MARGIN = 2  # pixels around a box in which a mask pasted by interpolation may still be set


def encode_stack(masks: np.ndarray, boxes: np.ndarray) -> list[Rle]:
    """Encode N masks as COCO compressed RLE, looking at the surroundings of each mask's box only.

    The result is the one of `rle.encode_coco` whatever the boxes say: where a mask has pixels outside of its box, the
    whole mask is encoded.

    Args:
        masks: bool (N, H, W).
        boxes: (N, 4) XYXY in pixels, where each mask should lie.

    Returns:
        N of {"size": [H, W], "counts": str}, ready for JSON.
    """
    height, width = masks.shape[1:]
    low = np.floor(np.nan_to_num(boxes[:, :2])) - _MARGIN
    high = np.ceil(np.nan_to_num(boxes[:, 2:])) + _MARGIN
    size = np.array([width, height])
    corners = np.concatenate([np.clip(low, 0, size), np.clip(high, 0, size)], axis=1).astype(np.int64)
    rles = []
    for mask, (left, top, right, bottom) in zip(masks, corners.tolist(), strict=True):
        window = mask[top:bottom, left:right]
        if np.count_nonzero(window) != np.count_nonzero(mask):
            window, top, left = mask, 0, 0
        rles.append(_encode_window(window, top, left, height, width))
    return rles


def _encode_window(window: np.ndarray, top: int, left: int, height: int, width: int) -> Rle:
    """Encode a mask that is empty outside of a window whose upper left pixel is (top, left)."""
    columns = np.zeros((window.shape[1], window.shape[0] + 2), dtype=np.int8)  # background above and below each column
    columns[:, 1:-1] = window.T
    column, row = np.nonzero(columns[:, 1:] != columns[:, :-1])  # starts and stops of runs, in turn
    edges = (left + column) * height + top + row
    # A run to the bottom of the image goes on at the top of the next column: that stop and that start cancel out.
    joined = np.flatnonzero(edges[1:] == edges[:-1])
    edges = np.delete(edges, np.concatenate([joined, joined + 1]))
    counts = np.diff(edges, prepend=0, append=height * width)
    if edges.size and edges[-1] == height * width:  # the mask holds the last pixel: no background after it
        counts = counts[:-1]
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}
