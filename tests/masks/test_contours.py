import numpy as np
from skimage.segmentation import find_boundaries

from nucleus.masks.contours import outline_pixels


def test_the_outline_of_a_square_is_its_rim():
    labels = np.zeros((5, 5), int)
    labels[1:4, 1:4] = 1
    outline = outline_pixels(labels)
    assert outline.sum() == 8 and not outline[2, 2]


def test_touching_nuclei_are_parted():
    labels = np.array([[1, 1, 1, 2, 2, 2]])
    assert outline_pixels(labels).tolist() == [[False, False, True, True, False, False]]


def test_outlines_agree_with_scikit_image():
    labels = np.kron(np.random.default_rng(0).integers(0, 4, (9, 7)), np.ones((4, 4), int))
    assert (outline_pixels(labels) == find_boundaries(labels, connectivity=1, mode="inner")).all()
