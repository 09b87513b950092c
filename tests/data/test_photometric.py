import numpy as np
import pytest
from skimage.color import hed_from_rgb, rgb_from_hed
from skimage.data import immunohistochemistry

from nucleus.data import photometric
from nucleus.data.photometric import AUGMENTATIONS, ONLY_ON_COLOUR, augment_photometrically, is_coloured

COLOUR = immunohistochemistry()[:128, :160]
GREY = np.repeat(COLOUR.mean(axis=2).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_changes_a_coloured_image_and_keeps_its_form(name):
    changed = [augment_photometrically(COLOUR, {name: 1.0}, np.random.default_rng(seed)) for seed in range(4)]
    assert all(image.shape == COLOUR.shape and image.dtype == np.uint8 for image in changed)
    assert any((image != COLOUR).any() for image in changed)  # a permutation may be the identity
    again = augment_photometrically(COLOUR, {name: 1.0}, np.random.default_rng(0))
    assert (again == changed[0]).all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_grey_image_stays_grey(name):
    image = augment_photometrically(GREY, {name: 1.0}, np.random.default_rng(0))
    assert (image == image[..., :1]).all()
    assert (name in ONLY_ON_COLOUR) == (image == GREY).all()


def test_no_probability_changes_nothing():
    assert (augment_photometrically(COLOUR, {}, np.random.default_rng(0)) == COLOUR).all()


def test_stain_without_jitter_is_the_identity(monkeypatch):
    monkeypatch.setattr(photometric, "STAIN_SCALE", 0.0)
    monkeypatch.setattr(photometric, "STAIN_SHIFT", 0.0)
    image = photometric.stain(COLOUR.astype(np.float32), np.random.default_rng(0))
    assert np.abs(image - COLOUR).max() < 0.01  # grey levels


def test_inversion_of_known_values():
    image = np.array([[[0, 100, 255]]], np.float32)
    assert photometric.invert(image, np.random.default_rng(0)).tolist() == [[[255, 155, 0]]]


def test_gamma_keeps_black_and_white():
    ends = np.array([[[0, 255, 0]]], np.float32)
    assert np.allclose(photometric.gamma(ends, np.random.default_rng(0)), ends)


def test_a_grey_image_of_one_channel_is_augmented_as_the_same_in_three():
    everything = dict.fromkeys(AUGMENTATIONS, 0.5)
    for seed in range(20):
        one, three = (augment_photometrically(x, everything, np.random.default_rng(seed)) for x in (GREY[..., 0], GREY))
        assert one.shape == GREY.shape[:2]
        assert np.abs(one[..., None].astype(int) - three).max() <= 1  # the mean of an image is rounded


@pytest.mark.parametrize("image", [COLOUR, GREY, GREY[..., 0]])
def test_values_looked_up_are_those_worked_out_on_every_pixel(image):
    """Against the functions themselves, one after the other on the whole image."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pixels = image.astype(np.float32)
        for name, augment in AUGMENTATIONS.items():
            if rng.random() < 0.6 and (is_coloured(image) or name not in ONLY_ON_COLOUR):
                pixels = augment(pixels, rng).astype(np.float32)
        if pixels.ndim < image.ndim:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        expected = np.clip(np.rint(pixels), 0, 255).astype(int)
        found = augment_photometrically(image, dict.fromkeys(AUGMENTATIONS, 0.6), np.random.default_rng(seed))
        assert np.abs(found - expected).max() <= 1
        assert (found != expected).mean() < 0.01


def test_stain_follows_its_formula_step_by_step():
    image = COLOUR.astype(np.float32)
    rng = np.random.default_rng(0)
    density = -np.log((image.astype(np.float64) + 1) / 256) @ hed_from_rgb
    density = density * (1 + rng.uniform(-photometric.STAIN_SCALE, photometric.STAIN_SCALE, 3))
    density += rng.uniform(-photometric.STAIN_SHIFT, photometric.STAIN_SHIFT, 3)
    expected = np.exp(-density @ rgb_from_hed) * 256 - 1
    assert np.allclose(photometric.stain(image, np.random.default_rng(0)), expected, atol=0.01)


class Highest:
    """In place of a generator: always the upper bound."""

    def uniform(self, low, high):
        return high


@pytest.mark.parametrize(("turn", "order"), [(1 / 3, [2, 0, 1]), (-1 / 3, [1, 2, 0])])
def test_a_hue_turned_by_a_third_permutes_the_channels(monkeypatch, turn, order):
    monkeypatch.setattr(photometric, "HUE_TURN", turn)
    monkeypatch.setattr(photometric, "SATURATION", (1.0, 1.0))
    image = COLOUR.astype(np.float32)
    assert np.allclose(photometric.hue(image, Highest()), image[..., order], atol=0.01)


def test_colour_is_told_from_grey():
    assert is_coloured(COLOUR) and not is_coloured(GREY)
