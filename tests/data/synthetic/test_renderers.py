"""The three renderers: the picture shows the truth and nothing else when everything random is off."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus.data.synthetic.placement import Population, place_nuclei
from nucleus.data.synthetic.render_fluorescence import Fluorescence, render_fluorescence
from nucleus.data.synthetic.render_smear import place_smear, render_smear
from nucleus.data.synthetic.render_tissue import Stain, render_tissue
from nucleus.data.synthetic.textures import fibres, smooth_noise

SHAPE = (96, 128)
CLEAN_LIGHT = Fluorescence(
    10, 100, variation=0, blur=0.3, texture=0, doming=0, haze=0, noise=0, gain=0, unevenness=0, debris=0
)
CLEAN_STAIN = Stain(
    (200, 190, 210), (100, 50, 160), stroma=0, variation=0, vesicular=0, texture=0, blur=0.3, noise=0, ghosts=0
)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return place_nuclei(np.random.default_rng(5), SHAPE, 20, Population(8))


def test_clean_fluorescence_is_the_truth(labels: np.ndarray) -> None:
    image = render_fluorescence(np.random.default_rng(0), labels, CLEAN_LIGHT)
    assert image.shape == (*SHAPE, 3) and image.dtype == np.uint8
    assert (image == image[..., :1]).all()
    assert ((image[..., 0] > 60) == (labels > 0)).all()


def test_clean_stain_is_the_truth(labels: np.ndarray) -> None:
    image = render_tissue(np.random.default_rng(0), labels, CLEAN_STAIN)
    assert ((image[..., 1] < 120) == (labels > 0)).all()
    empty = render_tissue(np.random.default_rng(0), np.zeros(SHAPE, np.int32), CLEAN_STAIN)
    assert (empty == (200, 190, 210)).all()  # the glass


def test_eosin_is_pink_beside_the_nuclei(labels: np.ndarray) -> None:
    style = Stain((236, 236, 236), (110, 60, 120), eosin=(205, 130, 188))
    image = render_tissue(np.random.default_rng(0), labels, style).astype(int)
    red, green, blue = np.median(image[labels == 0], axis=0)
    assert red > blue + 10 > green + 40
    assert image[labels > 0].mean() < image[labels == 0].mean() - 30


def test_a_smear_has_dark_nuclei_on_a_bright_slide() -> None:
    rng = np.random.default_rng(2)
    labels, cytoplasm = place_smear(rng, (400, 400))
    image = render_smear(rng, labels, cytoplasm)
    assert (image == image[..., :1]).all()
    assert labels.max() >= 3
    assert np.median(image) > 180
    brightness = [image[labels == label].mean() for label in np.unique(labels)[1:]]
    assert max(brightness) < 190


@pytest.mark.parametrize("shape", [(1, 1), (40, 90), (603, 1272)])
@pytest.mark.parametrize("scale", [1.5, 20.0, 700.0])
def test_smooth_noise_has_the_shape_asked_for(shape: tuple[int, int], scale: float) -> None:
    noise = smooth_noise(np.random.default_rng(0), shape, scale)
    assert noise.shape == shape and noise.dtype == np.float32
    assert np.isfinite(noise).all()


def test_smooth_noise_has_about_unit_deviation_and_its_scale() -> None:
    noise = smooth_noise(np.random.default_rng(0), (512, 512), 8.0)
    assert noise.std() == pytest.approx(1, abs=0.15)
    step, leap = np.abs(noise[:, 1:] - noise[:, :-1]).mean(), np.abs(noise[:, 16:] - noise[:, :-16]).mean()
    assert step < leap / 4


def test_fibres_run_further_along_than_across() -> None:
    drawn = fibres(np.random.default_rng(4), (200, 200))
    assert drawn.shape == (200, 200) and np.abs(drawn).max() <= 1
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(drawn - drawn.mean()))) ** 2
    rows, columns = np.mgrid[-100:100, -100:100]
    spread = np.cov(np.stack([rows.ravel(), columns.ravel()]), aweights=spectrum.ravel())
    small, large = np.linalg.eigvalsh(spread)
    assert large > 2 * small
