"""Outlines and how they are filled."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus.data.synthetic.shapes import nucleus_outline, rasterise

SQUARE = np.array([[1.0, 1.0], [4.0, 1.0], [4.0, 3.0], [1.0, 3.0]])  # x, y


def test_a_square_fills_its_pixels() -> None:
    mask, window = rasterise(SQUARE, (8, 8))
    image = np.zeros((8, 8), dtype=int)
    image[window] = mask
    assert image[1:4, 1:5].all()
    assert image.sum() == 12


def test_what_lies_outside_is_cut_off() -> None:
    mask, window = rasterise(SQUARE - (2, 0), (8, 8))  # x from -1 to 2
    image = np.zeros((8, 8), dtype=int)
    image[window] = mask
    assert image[1:4, 0:3].all()
    assert image.sum() == 9


@pytest.mark.parametrize("offset", [(-50, 0), (0, -50), (50, 50)])
def test_an_outline_beside_the_image_gives_nothing(offset: tuple[int, int]) -> None:
    mask, window = rasterise(SQUARE + offset, (8, 8))
    assert mask.size == 0
    assert np.zeros((8, 8))[window].shape == mask.shape


@pytest.mark.parametrize("radius", [3.0, 10.0, 50.0])
def test_a_regular_outline_has_the_area_of_the_circle(radius: float) -> None:
    outline = nucleus_outline(np.random.default_rng(1), radius, elongation=1.5, irregularity=0.0, angle=0.7)
    mask, _ = rasterise(outline + 100, (200, 200))
    # cv2 fills the border's pixels too, so that half a pixel is added all round
    assert mask.sum() == pytest.approx(np.pi * (radius + 0.5) ** 2, rel=0.08)


def test_the_long_axis_points_along_the_angle() -> None:
    outline = nucleus_outline(np.random.default_rng(1), 10, elongation=4.0, irregularity=0.0, angle=np.pi / 2)
    assert np.ptp(outline[:, 0]) == pytest.approx(10, rel=0.01)
    assert np.ptp(outline[:, 1]) == pytest.approx(40, rel=0.01)


def test_outlines_differ_but_not_for_one_seed() -> None:
    one, same, other = (nucleus_outline(np.random.default_rng(seed), 10, 1.3, 0.1, 0.0) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
