"""Masks as runs of foreground pixels, down the columns (Fortran order): what all run-length encodings have in common.

The runs of a mask are int64 (R, 2), start and stop of each, as 0-based offsets into the pixels of the image, column
after column.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def runs_from_mask(mask: np.ndarray) -> np.ndarray:
    """The runs of a mask.

    Args:
        mask: boolean or 0/1 array (H, W).

    Returns:
        int64 (R, 2), ascending, never touching.
    """
    flat = np.concatenate([[False], np.asarray(mask, dtype=bool).T.ravel(), [False]])
    return np.flatnonzero(flat[1:] != flat[:-1]).reshape(-1, 2)


def mask_from_runs(runs: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw one mask.

    Args:
        runs: int64 (R, 2), inside the image, in any order.
        height: H in pixels.
        width: W in pixels.

    Returns:
        bool (H, W).
    """
    columns = np.zeros(height * width, dtype=bool)
    for start, stop in runs.tolist():
        columns[start:stop] = True
    return np.ascontiguousarray(columns.reshape(width, height).T)


def runs_of_labels(labels: np.ndarray) -> list[np.ndarray]:
    """The runs of each nucleus of a label image.

    Args:
        labels: integers (H, W), 0 background.

    Returns:
        For each label, ascending, int64 (R, 2), ascending, never touching.
    """
    columns = labels.T.ravel()
    if columns.size == 0:
        return []
    starts = np.concatenate([[0], np.flatnonzero(columns[1:] != columns[:-1]) + 1])
    stops = np.append(starts[1:], columns.size)
    runs = np.stack([starts, stops], axis=1)[columns[starts] != 0]
    label_of_run = columns[runs[:, 0]]
    order = np.argsort(label_of_run, kind="stable")
    firsts = np.flatnonzero(np.diff(label_of_run[order])) + 1
    return np.split(runs[order], firsts) if runs.size else []


def label_image_from_runs(masks: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Draw masks given by their runs into one label image: mask i becomes label i + 1, an earlier one keeps its pixels.

    Args:
        masks: the runs of each mask, int64 (R, 2).
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


def count_up(lengths: np.ndarray) -> np.ndarray:
    """0, 1, ..., n - 1 for each n of the lengths, one after the other: int64."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if ends.size else 0) - np.repeat(ends - lengths, lengths)
