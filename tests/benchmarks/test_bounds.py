"""Bounds by hand: what is taken from the truth, and what stays."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus.inference.prediction import Prediction
from nucleus.masks.box_masks import BoxMasks

SHAPE = (12, 20)


@pytest.fixture(scope="module")
def bounds(names_of):
    return names_of("bounds")


@pytest.fixture
def truth() -> np.ndarray:
    """A nucleus of 4 x 8 pixels, and one of 3 x 3 that is not found."""
    labels = np.zeros(SHAPE, dtype=np.int32)
    labels[2:6, 2:10] = 5
    labels[8:11, 14:17] = 9
    return labels


@pytest.fixture
def plain() -> Prediction:
    """First a detection of nothing with a low score, then the first nucleus, two of its eight columns cut off."""
    boxes = np.array([[12, 0, 14, 2], [2, 2, 8, 6]])
    masks = BoxMasks(boxes, [np.ones((2, 2), dtype=bool), np.ones((4, 6), dtype=bool)], *SHAPE)
    return Prediction(masks, np.array([0.6, 0.9], dtype=np.float32), 0.5)


def test_pairs_and_their_boxes(bounds, truth, plain):
    assert bounds["matched"](truth, plain) == [(5, 1)]  # IoU 24 / 32
    which, boxes = bounds["true_boxes"](truth, plain)
    assert which.tolist() == [1]
    assert boxes.tolist() == [[2, 2, 10, 6]]


def test_what_lies_outside_of_a_box_comes_from_the_truth(bounds, truth, plain):
    labels = bounds["from_truth"](truth, plain, np.array([[2.0, 2.0, 9.0, 6.0], [12.0, 0.0, 14.0, 2.0]]))
    assert labels[2:6, 9].tolist() == [1] * 4  # outside
    assert labels[2:6, 8].tolist() == [0] * 4  # inside, where the mask branch could have drawn
    assert (labels == 1).sum() == 24 + 4
    assert (labels == 2).sum() == 4  # what was made up stays


def test_whole_masks_come_from_the_truth(bounds, truth, plain):
    labels = bounds["from_truth"](truth, plain, None)
    assert np.array_equal(labels == 1, truth == 5)
    assert not (labels[truth == 9]).any()  # what was missed stays so


def test_scores_times_iou(bounds, truth, plain):
    scored = bounds["weighed"](truth, plain)
    assert scored.detection_scores.tolist() == pytest.approx([0.0, 0.9 * 24 / 32])
    assert scored.threshold == 0
