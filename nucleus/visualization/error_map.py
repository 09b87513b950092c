"""The errors of one image in colour: matched, missed and false nuclei, and those split or merged.

Colour never stands alone: a match is an outline, missed and false nuclei are filled, a split is striped and a merge
dotted, so that the picture is read without telling colours apart.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from nucleus.visualization.colors import FALSE, MATCHED, MERGED, MISSED, SPLIT, Rgb
from nucleus.visualization.overlay import outline

DIMMED = 0.5  # brightness of the image under the errors
TINT = 0.45  # opacity of a filled nucleus
LINE = 2  # pixels of an outline's width
PERIOD = 9  # pixels from stripe to stripe and from dot to dot
STROKE = 3  # pixels of a stripe's and of a dot's width


@dataclass(frozen=True)
class Errors:
    """What is wrong in one image; every other label of the truth is missed, of the prediction false.

    Attributes:
        matched_truth: labels of the truth that a prediction matches.
        matched_prediction: labels of the prediction that match a truth.
        split_truth: labels of the truth that several predictions share.
        pieces: labels of the prediction that are parts of a split nucleus.
        merged_truth: labels of the truth that one prediction took together.
        merging_prediction: labels of the prediction that take several true nuclei together.
    """

    matched_truth: Collection[int] = ()
    matched_prediction: Collection[int] = ()
    split_truth: Collection[int] = ()
    pieces: Collection[int] = ()
    merged_truth: Collection[int] = ()
    merging_prediction: Collection[int] = ()


def error_map(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, errors: Errors) -> np.ndarray:
    """Draw what is right and what is wrong over the image in dimmed grey.

    A match has its predicted outline in MATCHED. Missed nuclei are filled in MISSED, false ones in FALSE. A split
    nucleus is striped in SPLIT, with the outlines of its pieces; a prediction that merges several is dotted in MERGED,
    with the outlines of the true nuclei in it. Splits and merges cover the other colours.

    Args:
        image: uint8 (H, W, 3), RGB.
        truth: integers (H, W), 0 background.
        prediction: integers (H, W), 0 background.
        errors: which labels are what.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: the shapes differ.
    """
    if not image.shape[:2] == truth.shape == prediction.shape:
        raise ValueError(f"expected one shape, got image {image.shape}, truth {truth.shape}, "
                         f"prediction {prediction.shape}")  # fmt: skip
    grey = np.repeat(image.astype(np.float32).mean(axis=2, keepdims=True) * DIMMED, 3, axis=2)
    canvas = grey.copy()
    canvas[outline(_keep(prediction, errors.matched_prediction), LINE)] = MATCHED

    in_split, in_merge = [*errors.split_truth, *errors.merged_truth], [*errors.pieces, *errors.merging_prediction]
    _fill(canvas, grey, _drop(truth, [*errors.matched_truth, *in_split]), MISSED)
    _fill(canvas, grey, _drop(prediction, [*errors.matched_prediction, *in_merge]), FALSE)

    rows, columns = np.ogrid[: truth.shape[0], : truth.shape[1]]
    stripes = (rows + columns) % PERIOD < STROKE
    dots = (rows % PERIOD < STROKE) & (columns % PERIOD < STROKE)
    split, pieces = _keep(truth, errors.split_truth), _keep(prediction, errors.pieces)
    _pattern(canvas, grey, split, stripes, pieces, SPLIT)
    merging, members = _keep(prediction, errors.merging_prediction), _keep(truth, errors.merged_truth)
    _pattern(canvas, grey, merging, dots, members, MERGED)
    return np.rint(canvas).astype(np.uint8)


def _keep(labels: np.ndarray, wanted: Collection[int]) -> np.ndarray:
    return np.where(np.isin(labels, list(wanted)), labels, 0)


def _drop(labels: np.ndarray, unwanted: Collection[int]) -> np.ndarray:
    return np.where(np.isin(labels, list(unwanted)), 0, labels)


def _fill(canvas: np.ndarray, grey: np.ndarray, labels: np.ndarray, color: Rgb) -> None:
    """Tint nuclei and outline them."""
    inside = labels != 0
    canvas[inside] = grey[inside] * (1 - TINT) + np.asarray(color, dtype=np.float32) * TINT
    canvas[outline(labels, LINE)] = color


def _pattern(
    canvas: np.ndarray, grey: np.ndarray, labels: np.ndarray, pattern: np.ndarray, parts: np.ndarray, color: Rgb
) -> None:
    """Fill nuclei with a pattern; outline them and their parts."""
    inside = labels != 0
    canvas[inside] = grey[inside]
    canvas[inside & pattern] = color
    canvas[outline(labels, LINE) | outline(parts, LINE)] = color
