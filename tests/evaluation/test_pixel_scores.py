from __future__ import annotations

import numpy as np

from nucleus.evaluation.pixel_scores import PixelCounts, pixel_counts
from nucleus.masks.overlap import overlap_table


def test_by_hand():
    truth = np.array([[1, 1, 2, 0, 0]])
    prediction = np.array([[7, 7, 7, 7, 0]])  # one nucleus over two: all the same to Dice
    counts = pixel_counts(overlap_table(truth, prediction))
    assert counts == PixelCounts(intersection=3, truth=3, prediction=4)
    assert counts.dice == 6 / 7


def test_empty_images():
    assert PixelCounts(0, 0, 0).dice == 1
    assert PixelCounts(0, 5, 0).dice == PixelCounts(0, 0, 5).dice == 0
