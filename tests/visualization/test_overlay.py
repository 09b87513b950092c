"""Nuclei over their image."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus.visualization.colors import label_colors
from nucleus.visualization.overlay import for_display, outline, overlay_outlines

RED = (255, 0, 0)


@pytest.fixture()
def labels() -> np.ndarray:
    """Two nuclei of 5 x 5 pixels that touch."""
    labels = np.zeros((9, 14), dtype=np.int32)
    labels[2:7, 2:7], labels[2:7, 7:12] = 1, 2
    return labels


def test_a_dark_image_is_scaled_to_white() -> None:
    image = np.zeros((10, 10), dtype=np.uint8)
    image[:5] = 50
    image[0] = 20
    shown = for_display(image)
    assert shown.shape == (10, 10, 3) and shown.dtype == np.uint8
    assert shown[4, 0].tolist() == [255] * 3 and shown[0, 0].tolist() == [102] * 3 and shown[9, 0].tolist() == [0] * 3


def test_a_bright_image_stays_as_it_is() -> None:
    image = np.full((4, 4, 3), (180, 90, 200), dtype=np.uint8)
    shown = for_display(image)
    assert (shown == image).all()
    assert not np.shares_memory(shown, image)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 3), (6, 5, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_kind_of_image_is_taken(shape: tuple[int, ...], dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    for picture in (for_display(image), overlay_outlines(image, np.ones((6, 5), int))):
        assert picture.shape == (6, 5, 3) and picture.dtype == np.uint8


def test_a_black_image_stays_black() -> None:
    assert not for_display(np.zeros((4, 4), dtype=np.uint16)).any()


def test_outlines_are_inside_the_nuclei_and_part_touching_ones(labels: np.ndarray) -> None:
    image = np.full((*labels.shape, 3), 200, dtype=np.uint8)
    drawn = overlay_outlines(image, labels, RED)
    red = (drawn == RED).all(axis=2)
    assert red[2, 2:12].all() and red[2:7, 6].all() and red[2:7, 7].all()
    assert not red[labels == 0].any()
    assert (drawn[~red] == 200).all() and not red[4, 4] and not red[3:6, 3:6].any()


def test_outlines_take_the_labels_colours(labels: np.ndarray) -> None:
    drawn = overlay_outlines(np.full(labels.shape, 200, dtype=np.uint8), labels)
    assert (drawn[4, 2] == label_colors(np.array([1]))[0]).all()
    assert (drawn[4, 11] == label_colors(np.array([2]))[0]).all()


def test_a_wide_outline_grows_inwards(labels: np.ndarray) -> None:
    rim = outline(labels, width=2)
    assert rim.sum() == 2 * 24  # all but the pixel in the middle of each
    assert not rim[4, 4] and not rim[labels == 0].any()


def test_no_nuclei() -> None:
    image = np.full((5, 5), 180, dtype=np.uint8)
    nothing = np.zeros((5, 5), dtype=np.int32)
    assert (overlay_outlines(image, nothing) == 180).all()
