"""Copy-paste: what is pasted, what it covers, what stays."""

from __future__ import annotations

import numpy as np

from nucleus.data.copy_paste import paste


class _All:
    """A source of randomness that chooses everything."""

    def random(self, count: int) -> np.ndarray:
        return np.zeros(count)


def _view(*rows: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A 20 x 20 view with squares of 6 pixels: top, left, brightness."""
    image, labels = np.full((20, 20), 10, np.uint8), np.zeros((20, 20), np.int16)
    for label, (top, left, value) in enumerate(rows, start=3):  # labels with gaps
        image[top : top + 6, left : left + 6] = value
        labels[top : top + 6, left : left + 6] = label
    return image, labels


def test_pasted_nuclei_cover_what_is_there() -> None:
    image, labels = _view((2, 2, 100))
    other, other_labels = _view((4, 4, 200))
    mixed, drawn = paste(image, labels, other, other_labels, _All())
    np.testing.assert_array_equal(np.unique(drawn), [0, 3, 4])
    assert (drawn == 4).sum() == 36
    assert (drawn == 3).sum() == 36 - 16
    assert (mixed[6:8, 6:8] > 190).all()
    np.testing.assert_array_equal(mixed[15:], image[15:])
    np.testing.assert_array_equal(labels, _view((2, 2, 100))[1])  # its argument stays as it was


def test_nuclei_that_the_view_cuts_are_not_pasted() -> None:
    image, labels = _view((2, 2, 100))
    mixed, drawn = paste(image, labels, *_view((0, 10, 200), (8, 14, 200)), _All())
    np.testing.assert_array_equal(drawn, labels)
    np.testing.assert_array_equal(mixed, image)


def test_views_of_other_sizes_and_colours() -> None:
    image, labels = _view((2, 2, 100))
    other, other_labels = _view((4, 4, 200), (4, 12, 200))
    coloured = np.repeat(image[:, :12, None], 3, axis=2)
    mixed, drawn = paste(coloured, labels[:, :12], np.repeat(other[..., None], 3, axis=2), other_labels, _All())
    assert mixed.shape == (20, 12, 3)
    assert (drawn == 4).sum() == 36  # the one at column 12 lies outside


def test_about_half_of_them() -> None:
    other = np.zeros((200, 200), np.int16)
    for index in range(400):
        top, left = divmod(index, 20)
        other[top * 10 + 2 : top * 10 + 8, left * 10 + 2 : left * 10 + 8] = index + 1
    blank = np.zeros_like(other)
    pixels = np.zeros((200, 200), np.uint8)
    _, drawn = paste(pixels, blank, pixels, other, np.random.default_rng(0))
    assert 150 < len(np.unique(drawn)) - 1 < 250
