"""The rule for the kind of an image: by hand at its thresholds."""

import numpy as np
import pytest

from nucleus.data.modality import MODALITIES, median_diameter, median_level, modality_of


def flat(*colours):
    """An image of vertical stripes, one a colour."""
    return np.repeat(np.array([colours], np.uint8), 10, axis=0)


BLACK, WHITE, PURPLE, PINK, GREY = (5, 5, 5), (230, 230, 230), (120, 60, 180), (220, 120, 160), (200, 200, 200)


@pytest.mark.parametrize(
    ("image", "areas", "expected"),
    [
        (flat(BLACK, BLACK, WHITE), [300, 310], "small_fluorescent"),
        (flat(BLACK, BLACK, WHITE), [900, 1000], "large_fluorescent"),
        (flat(BLACK, BLACK, WHITE), [], "small_fluorescent"),
        (flat(BLACK, BLACK, (0, 0, 255)), [100], "small_fluorescent"),  # one blue channel
        (flat(WHITE, WHITE, GREY), [100], "grayscale_tissue"),
        (flat(WHITE, WHITE, (40, 40, 40)), [2000], "grayscale_tissue"),
        (flat(WHITE, WHITE, PURPLE), [2000], "purple_tissue"),
        (flat(PURPLE, PURPLE, PURPLE), [], "purple_tissue"),
        (flat(WHITE, PINK, PURPLE), [100], "pink_purple_tissue"),
    ],
)
def test_each_kind(image, areas, expected):
    assert modality_of(image, areas) == expected
    assert expected in MODALITIES


def test_large_begins_at_a_diameter_of_32():
    dark = flat(BLACK)
    assert median_diameter([804]) == pytest.approx(31.995, abs=0.001)
    assert modality_of(dark, [804, 804, 9000]) == "small_fluorescent"
    assert modality_of(dark, [1, 805, 805]) == "large_fluorescent"


def test_pink_begins_at_one_pixel_in_twenty():
    assert modality_of(flat(*[PURPLE] * 19, PINK), []) == "pink_purple_tissue"
    assert modality_of(flat(*[PURPLE] * 20, PINK), []) == "purple_tissue"


def test_coloured_begins_at_one_pixel_in_a_hundred():
    assert modality_of(flat(*[GREY] * 99, PURPLE), []) == "purple_tissue"
    assert modality_of(flat(*[GREY] * 100, PURPLE), []) == "grayscale_tissue"
    assert modality_of(flat((200, 200, 220)), []) == "grayscale_tissue"


@pytest.mark.parametrize("size", [1, 2, 3, 100, 1001])
def test_the_counted_median_is_that_of_sorting(size):
    for levels in (1, 2, 7, 256):
        values = np.random.default_rng(size).integers(256 - levels, 256, (1, size)).astype(np.uint8)
        assert median_level(values) == np.median(values)
