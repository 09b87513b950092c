from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.draw import disk
from skimage.measure import regionprops

from nucleus.evaluation.counts import pool
from nucleus.evaluation.outline_offset import OutlineCounts, outline_counts
from nucleus.masks.overlap import overlap_table


def discs(*radii: float) -> np.ndarray:
    """A row of discs with their centres 40 pixels apart."""
    image = np.zeros((40, 40 * len(radii)), dtype=np.int32)
    for number, radius in enumerate(radii):
        image[disk((20, 20 + 40 * number), radius, shape=image.shape)] = number + 1
    return image


def test_by_hand():
    """A square of 4 pixels found as one of 9, with an IoU of 4/9: no match. Of 9 found as 16: (4 - 3) / sqrt(pi)."""
    four, nine, sixteen = (np.pad(np.ones((side, side), int), (0, 4 - side)) for side in (2, 3, 4))
    assert outline_counts(overlap_table(four, nine)) == OutlineCounts(0, 0.0)
    wider = outline_counts(overlap_table(nine, sixteen))
    assert wider.matches == 1
    assert wider.offset == pytest.approx(1 / math.sqrt(math.pi))
    assert outline_counts(overlap_table(sixteen, nine)).offset == -wider.offset
    assert math.isnan(outline_counts(overlap_table(four * 0, nine)).offset)


@pytest.mark.parametrize("by", [-2, -1, 0, 1, 2])
def test_discs_drawn_wider(by):
    truth, prediction = discs(8, 10, 15), discs(8 + by, 10 + by, 15 + by)
    assert outline_counts(overlap_table(truth, prediction)).offset == pytest.approx(by, abs=0.1)


def test_agrees_with_scikit_image(real_pairs):
    """The radius is half of scikit-image's equivalent_diameter_area; a missed nucleus has none."""
    compared = 0
    for truth, prediction in real_pairs[::5]:
        table = overlap_table(truth, prediction)
        true = {one.label: one.equivalent_diameter_area / 2 for one in regionprops(truth)}
        predicted = {one.label: one.equivalent_diameter_area / 2 for one in regionprops(prediction)}
        pairs = np.flatnonzero(table.iou > 0.5)
        expected = sum(
            predicted[table.prediction_ids[column]] - true[table.truth_ids[row]]
            for row, column in zip(table.truth_index[pairs], table.prediction_index[pairs], strict=True)
        )
        found = outline_counts(table)
        assert found.matches == len(pairs)
        assert found.excess == pytest.approx(expected, abs=1e-9)
        compared += len(pairs)
    assert compared > 50


def test_they_pool():
    assert pool([OutlineCounts(2, 1.0), OutlineCounts(0, 0.0), OutlineCounts(1, -4.0)]).offset == -1.0
