import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nucleus.masks.runs import count_up, label_image_from_runs, mask_from_runs, runs_from_mask, runs_of_labels

LABELS = npst.arrays(np.uint8, st.tuples(st.integers(0, 6), st.integers(0, 6)), elements=st.integers(0, 3))


def test_runs_go_down_the_columns_and_on_at_the_next():
    mask = np.array([[0, 1, 1], [0, 1, 0]], dtype=bool)
    assert runs_from_mask(mask).tolist() == [[2, 5]]
    assert (mask_from_runs(np.array([[2, 5]]), 2, 3) == mask).all()


@given(LABELS)
def test_every_mask_survives(labels):
    assert np.array_equal(mask_from_runs(runs_from_mask(labels), *labels.shape), labels != 0)


@given(LABELS)
def test_the_runs_of_a_label_are_those_of_its_mask(labels):
    expected = [runs_from_mask(labels == label).tolist() for label in np.unique(labels[labels != 0])]
    assert [runs.tolist() for runs in runs_of_labels(labels)] == expected


def test_the_earlier_mask_keeps_shared_pixels():
    labels = label_image_from_runs([np.array([[0, 3]]), np.array([[2, 5]])], 4, 2)
    assert labels.dtype == np.int32
    assert labels.T.ravel().tolist() == [1, 1, 1, 2, 2, 0, 0, 0]


@pytest.mark.parametrize("shape", [(3, 2), (0, 5), (5, 0)])
def test_no_masks_give_background(shape):
    labels = label_image_from_runs([], *shape)
    assert labels.shape == shape and not labels.any()


def test_counting_up():
    assert count_up(np.array([3, 0, 2])).tolist() == [0, 1, 2, 0, 1]
    assert count_up(np.zeros(0, dtype=int)).tolist() == []
