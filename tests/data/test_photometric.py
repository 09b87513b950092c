import numpy as np
import pytest
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


def test_colour_is_told_from_grey():
    assert is_coloured(COLOUR) and not is_coloured(GREY)
