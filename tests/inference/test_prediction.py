from __future__ import annotations

import numpy as np
import pytest

from nucleus.inference.prediction import Prediction
from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.polygons import fill_polygon


def prediction(threshold: float = 0.5) -> Prediction:
    """Three detections in 4 x 6 pixels: the second is better than the first and takes a column of it."""
    boxes = np.array([[0, 0, 3, 2], [2, 0, 4, 4], [5, 3, 6, 4]])
    crops = [np.ones((2, 3), dtype=bool), np.ones((4, 2), dtype=bool), np.ones((1, 1), dtype=bool)]
    return Prediction(BoxMasks(boxes, crops, 4, 6), np.array([0.6, 0.9, 0.3], dtype=np.float32), threshold)


def test_by_hand():
    found = prediction()
    expected = [[2, 2, 1, 1, 0, 0], [2, 2, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0]]
    assert found.label_image.tolist() == expected
    assert found.label_image.dtype == np.int32
    assert len(found) == 2
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    assert found.scores.dtype == np.float32
    assert found.boxes.tolist() == [[2, 0, 4, 4], [0, 0, 2, 2]]  # tight: the second lost a column
    np.testing.assert_array_equal(np.asarray(found.masks), found.label_image == np.array([1, 2])[:, None, None])
    assert [[ring.tolist() for ring in polygon] for (polygon,) in found.contours] == [
        [[[2, 0], [4, 0], [4, 4], [2, 4]]],
        [[[0, 0], [2, 0], [2, 2], [0, 2]]],
    ]
    assert found.dropped == 0


def test_another_threshold_on_the_same_detections():
    low = prediction().at(0.3)
    assert len(low) == 3
    assert low.detections is not None
    assert low.label_image[3, 5] == 3
    assert len(prediction().at(0.95)) == 0
    assert len(prediction().at(0.9)) == 0  # 0.9 as float32 is a little less
    assert len(low.at(0.5)) == 2
    np.testing.assert_array_equal(low.at(0.5).label_image, prediction().label_image)


def test_parts_of_others_are_dropped():
    whole = np.ones((2, 3), dtype=bool)
    masks = BoxMasks(np.array([[0, 0, 3, 2], [0, 0, 3, 2]]), [whole, whole], 4, 6)
    found = Prediction(masks, np.array([0.7, 0.8], dtype=np.float32), 0.5)
    assert (len(found), found.dropped) == (1, 1)
    assert found.scores.tolist() == pytest.approx([0.8])


def test_nothing_found():
    found = Prediction(BoxMasks(np.zeros((0, 4)), [], 4, 6), np.zeros(0, dtype=np.float32), 0.5)
    assert len(found) == 0
    assert found.label_image.tolist() == [[0] * 6] * 4
    assert found.boxes.shape == (0, 4)
    assert found.contours == []
    assert len(found.masks) == 0
    assert repr(found) == "Prediction(0 nuclei in 4 x 6 pixels, score 0.5 or more)"


def test_contours_give_the_nuclei_back():
    rng = np.random.default_rng(0)
    boxes, crops = [], []
    for _ in range(30):
        left, top, width, height = (int(value) for value in rng.integers(1, 30, size=4))
        boxes.append((left, top, left + width, top + height))
        crops.append(rng.random((height, width)) < 0.8)
    found = Prediction(BoxMasks(np.array(boxes), crops, 64, 64), rng.random(30).astype(np.float32), 0.2)
    drawn = np.zeros((64, 64), dtype=np.int32)
    for label, polygons in enumerate(found.contours, start=1):
        for polygon in polygons:
            for row, start, stop in fill_polygon(polygon, 64, 64):
                drawn[row, start:stop] = label
    assert len(found) > 5
    np.testing.assert_array_equal(drawn, found.label_image)
