from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.draw import disk


@pytest.fixture(scope="module")
def outlines(names_of):
    return names_of("outlines")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("wider", [-2, -1, 0, 1, 2])
def test_half_height_is_the_edge_of_a_blurred_disc(outlines, wider, dark):
    """A disc of radius 20, blurred; outlines drawn wider have it so far inside."""
    image, truth = np.zeros((80, 80)), np.zeros((80, 80), dtype=np.int32)
    image[disk((40, 40), 20)] = 200
    truth[disk((40, 40), 20 + wider)] = 1
    image = gaussian_filter(image, 1.5)
    pixels = np.repeat((255 - image if dark else image).astype(np.uint8)[..., None], 3, axis=2)
    assert outlines["half_height"](pixels, truth) == pytest.approx(-wider, abs=0.25)


def test_no_image_has_a_say_in_its_own_width(outlines):
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.4], [0.3, 0.6]])
    # Without field a: columns 0.5 / 1.0, so the second for its images; without b or c the first.
    found, chosen = outlines["without_own_field"](scores, ["a", "a", "b", "c"])
    assert found.tolist() == [0.1, 0.1, 0.2, 0.3]
    assert chosen.tolist() == [1, 1, 0, 0]
