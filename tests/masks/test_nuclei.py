import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import find_objects

from nucleus.masks import nuclei
from nucleus.masks.nuclei import boxes_of_labels, iterate_nuclei


def test_boxes_and_crops_by_hand():
    labels = np.array([[0, 3, 3, 0], [0, 3, 0, 7], [0, 0, 3, 7]])
    first, second = iterate_nuclei(labels, scores=[0, 0, 0.5, 0, 0, 0, 0.25])
    assert (first.label, first.box, first.score) == (3, (1, 0, 3, 3), 0.5)
    assert first.mask.astype(int).tolist() == [[1, 1], [1, 0], [0, 1]]
    assert (second.label, second.box, second.score) == (7, (3, 1, 4, 3), 0.25)


def test_an_empty_image_has_none():
    ids, boxes = boxes_of_labels(np.zeros((5, 4), np.uint16))
    assert ids.shape == (0,) and boxes.shape == (0, 4)
    assert list(iterate_nuclei(np.zeros((0, 0), int), [])) == []


def test_too_few_scores_are_refused():
    with pytest.raises(ValueError, match="up to 5"):
        next(iterate_nuclei(np.full((2, 2), 5), [1.0]))
    assert np.isnan(next(iterate_nuclei(np.full((2, 2), 5))).score)


@given(
    arrays(np.uint16, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 6)), st.integers(1, 5)
)
def test_boxes_are_scipys_whatever_the_band(labels, band):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nuclei, "BAND", band)
        ids, boxes = boxes_of_labels(labels)
    expected = {
        label: [where[1].start, where[0].start, where[1].stop, where[0].stop]
        for label, where in enumerate(find_objects(labels), start=1)
        if where is not None
    }
    assert dict(zip(ids.tolist(), boxes.tolist(), strict=True)) == expected


def test_labels_may_be_far_apart():
    ids, boxes = boxes_of_labels(np.array([[2**31 - 1, 0, 1]], np.int32))
    assert ids.tolist() == [1, 2**31 - 1] and boxes.tolist() == [[2, 0, 3, 1], [0, 0, 1, 1]]
