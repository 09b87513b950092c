"""Borders and the costs of their seams, by hand."""

import numpy as np
import pytest

from nucleus.data.seams import SHORTEST_BORDER, Lines, Seams, borders_of


def test_borders_are_the_two_outermost_lines_of_each_side():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    borders = borders_of(image)
    assert borders.left[..., 0].tolist() == [[0, 4, 8], [1, 5, 9]]
    assert borders.right[..., 0].tolist() == [[3, 7, 11], [2, 6, 10]]
    assert borders.top[..., 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert borders.bottom[..., 0].tolist() == [[8, 9, 10, 11], [4, 5, 6, 7]]
    assert borders.digest == borders_of(image.copy()).digest != borders_of(image.astype(np.uint16)).digest


def lines(end, start):
    """Two images with one border each, of which the end of the first and the start of the second are given."""
    blank = np.zeros_like(end)
    return Lines(np.arange(2), [end, blank], [blank, start])


def test_the_cost_of_a_seam_by_hand():
    end = np.zeros((2, 4, 3), np.uint8)
    start = np.zeros((2, 4, 3), np.uint8)
    end[0], end[1] = 10, 8  # steps by 2 inside of the first image
    start[0], start[1] = 13, 17  # by 3 across the seam, by 4 inside of the second
    cost = lines(end, start).costs(np.array([0]), np.array([1]))[0, 0]
    assert cost == pytest.approx((9 + 0.25) / ((4 + 16) / 2 + 0.25))


def test_a_border_read_backwards_keeps_its_channels():
    end = np.random.default_rng(0).integers(0, 255, (2, 80, 3), dtype=np.uint8)
    ends = lines(end, end[:, ::-1])
    zero, one = np.array([0]), np.array([1])
    assert ends.costs(zero, one, backwards=True)[0, 0] < 0.01 < ends.costs(zero, one)[0, 0]


def test_the_clear_seam_of_three_images_is_accepted_and_borders_of_other_lengths_have_no_cost():
    random = np.random.default_rng(0)
    one, two, short = (random.integers(0, 255, (2, length, 3), dtype=np.uint8) for length in (80, 80, 70))
    near = one.copy()
    near[0] = one[0] // 2 * 2  # at most one grey level from the border that it goes on from
    seams = Seams([one, two, short], [two[:, ::-1], near, short])
    assert seams.accepted == [(0, 1)]
    assert seams.free((0, 1)) and not seams.free((0, 2)) and seams.free((1, 0))
    assert not seams.accept((0, 1)) and seams.accept((1, 0))
    assert np.isinf(seams.cost((0, 2)))
    assert seams.neighbours(0, follows=True, limit=0.1)[0].tolist() == [1]


def test_short_borders_are_left_out():
    image = borders_of(np.zeros((SHORTEST_BORDER - 1, 80), np.uint8))
    seams = Seams([image.right] * 2, [image.left] * 2)
    assert seams.accepted == [] and np.isinf(seams.cost((0, 1)))
