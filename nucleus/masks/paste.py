"""Masks of a fixed resolution, as mask heads give them, drawn at the size of their boxes and nowhere else.

The geometry is that of Detectron2's `paste_masks_in_image`: the M x M probabilities fill the box exactly, pixels are
unit squares with their centres at half coordinates, and values between centres are bilinear with zero outside. Bilinear
sampling is separable, so that each mask is two small matrix products, one for each direction.
"""

from __future__ import annotations

import numpy as np

from nucleus.masks.box_masks import BoxMasks


def paste_masks(
    probabilities: np.ndarray, boxes: np.ndarray, height: int, width: int, *, threshold: float = 0.5
) -> BoxMasks:
    """Draw N masks into the pixels of their boxes.

    Args:
        probabilities: float32 (N, M, M), in [0, 1].
        boxes: (N, 4) XYXY in pixels of the image, fractions allowed. What lies outside of the image is cut off; a box
            without extent, or with a corner that is no number, gives an empty mask.
        height: H of the image in pixels.
        width: W of the image in pixels.
        threshold: lowest probability of a pixel of the mask.

    Returns:
        N masks, each in the whole pixels that its box touches.
    """
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    corners = pixels_touched(boxes, height, width)
    side = probabilities.shape[-1]
    by_column, columns = _weights(boxes[:, 0], boxes[:, 2], corners[:, 0], corners[:, 2], side)
    by_row, rows = _weights(boxes[:, 1], boxes[:, 3], corners[:, 1], corners[:, 3], side)
    pixels = np.empty(int(np.sum(np.diff(columns) * np.diff(rows))), dtype=bool)
    # One box is a pass of a few microseconds, in which everything is in the cache.
    transposed = np.ascontiguousarray(np.asarray(probabilities, dtype=np.float32).transpose(0, 2, 1))
    start, columns, rows = 0, columns.tolist(), rows.tolist()
    for index, probability in enumerate(transposed):
        across = by_column[columns[index] : columns[index + 1]]
        down = by_row[rows[index] : rows[index + 1]]
        stop = start + len(across) * len(down)
        drawn = across @ probability @ down.T
        np.greater_equal(drawn, threshold, out=pixels[start:stop].reshape(drawn.shape))
        start = stop
    return BoxMasks(corners, pixels, height, width)


def pixels_touched(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """The whole pixels that boxes touch, inside the image.

    Args:
        boxes: (N, 4) XYXY in pixels.
        height: H in pixels.
        width: W in pixels.

    Returns:
        int64 (N, 4), XYXY with the right and bottom pixel just outside; all zero for a box without extent inside.
    """
    size = np.array([width, height])
    low = np.clip(np.floor(boxes[:, :2]), 0, size)
    high = np.clip(np.ceil(boxes[:, 2:]), 0, size)
    empty = ~((low < high) & (boxes[:, :2] < boxes[:, 2:])).all(axis=1)  # true also where there is a NaN
    corners = np.concatenate([low, high], axis=1)
    corners[empty] = 0
    return corners.astype(np.int64)


def _weights(
    low: np.ndarray, high: np.ndarray, first: np.ndarray, stop: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """How much each of the M samples of a mask counts in each pixel along one side of its box.

    Args:
        low, high: float32 (N,), ends of the side in pixels.
        first, stop: int64 (N,), whole pixels of the side.
        side: M.

    Returns:
        float32 (P, M), a row a pixel, side after side; and the row at which each side begins, int64 (N + 1,).
    """
    counts = stop - first
    bounds = np.concatenate([[0], np.cumsum(counts)])
    owner = np.repeat(np.arange(len(counts)), counts)
    centre = (np.arange(bounds[-1]) - bounds[owner] + first[owner]).astype(np.float32) + np.float32(0.5)
    # Step by step as grid_sample does in float32, so that a pixel on the threshold falls to the same side.
    position = (centre - low[owner]) / (high - low)[owner] * 2 - 1
    position = ((position + 1) * np.float32(side) - 1) / 2
    distance = np.abs(position[:, None] - np.arange(side, dtype=np.float32))
    return np.maximum(1 - distance, 0), bounds
