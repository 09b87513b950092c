import numpy as np
import pytest
from skimage.measure import label as skimage_label
from skimage.segmentation import relabel_sequential as skimage_relabel

from nucleus.masks.label_image import (
    label_components,
    relabel_sequential,
)


def test_relabelling_agrees_with_scikit_image():
    rng = np.random.default_rng(0)
    for low in (0, 3):  # with and without background
        labels = rng.integers(low, 40, (12, 9)) * 7
        assert (relabel_sequential(labels) == skimage_relabel(labels)[0]).all()


def test_components_join_nuclei_that_touch_at_a_corner():
    labels = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 0], [3, 0, 0]])
    assert label_components(labels).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [2, 0, 0]]


def test_components_agree_with_scikit_image_number_by_number():
    rng = np.random.default_rng(1)
    for share in (0.1, 0.4, 0.5, 0.9):
        for shape in ((60, 50), (1, 30), (31, 1), (7, 129)):
            labels = (rng.random(shape) < share) * rng.integers(1, 9, shape)
            for image in (labels, labels > 0, labels.astype(np.uint16)[:, ::-1], np.asfortranarray(labels)):
                found = label_components(image)
                assert found.dtype == np.int32
                assert (found == skimage_label(image > 0, connectivity=2)).all()


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_components_of_an_image_without_pixels(shape):
    assert label_components(np.zeros(shape, dtype=int)).shape == shape
