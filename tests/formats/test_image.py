import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from nucleus.errors import InputError
from nucleus.formats.image import read_image, to_rgb8

RGB = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
GREY16 = np.random.default_rng(1).integers(0, 65536, (7, 9), dtype=np.uint16)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp"])
def test_rgb_comes_back_in_rgb_order(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(RGB).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert (read_image(path) == RGB).all()


def test_alpha_is_dropped(tmp_path):
    Image.fromarray(np.dstack([RGB, np.full((7, 9), 3, np.uint8)])).save(tmp_path / "rgba.png")
    assert (read_image(tmp_path / "rgba.png") == RGB).all()


def test_grey_with_alpha_becomes_grey(tmp_path):
    Image.fromarray(np.dstack([RGB[..., 0], RGB[..., 1]]), mode="LA").save(tmp_path / "la.png")
    assert (to_rgb8(read_image(tmp_path / "la.png")) == RGB[..., :1]).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_survive(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    cv2.imwrite(str(path), GREY16)
    assert read_image(path).dtype == np.uint16 and (read_image(path) == GREY16).all()


def test_sixteen_bits_are_scaled_by_percentiles_and_not_turned_white():
    ramp = np.linspace(1000, 3000, 10_000).astype(np.uint16).reshape(100, 100)
    ramp[0, 0] = 65535  # one hot pixel must not darken the rest
    rgb = to_rgb8(ramp)
    assert rgb.dtype == np.uint8 and rgb.shape == (100, 100, 3)
    assert rgb.min() == 0 and rgb.max() == 255
    assert abs(int(np.median(rgb)) - 127) <= 1


def test_a_constant_image_is_no_division_by_zero():
    assert not to_rgb8(np.full((4, 4), 500, np.uint16)).any()


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(np.repeat(np.repeat(RGB, 20, 0), 20, 1)).save(whole)
    broken = tmp_path / f"broken.{suffix}"
    broken.write_bytes(whole.read_bytes()[:100])
    with pytest.raises(InputError, match=f"broken.{suffix}"):
        read_image(broken)


def test_a_missing_and_an_empty_file_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.png"):
        read_image(tmp_path / "nothing.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError, match=r"empty\.png"):
        read_image(tmp_path / "empty.png")


def test_fractions_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((4, 4), np.float32))
    with pytest.raises(InputError, match="8 or 16 bit"):
        read_image(tmp_path / "float.tif")
