import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from nucleus.formats.image_source import open_array
from nucleus.formats.rescale import Rescale

RGB8 = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
FLOAT = np.random.default_rng(1).normal(size=(70, 90)).astype(np.float32)


def test_a_ramp_by_hand():
    ramp = np.arange(1001, dtype=np.uint16)[None] * 10
    rescale = Rescale.of(ramp)
    assert (rescale.black, rescale.white) == pytest.approx((10, 9990))
    assert rescale(np.array([[0, 10, 5000, 9990, 65535]], np.uint16))[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_signed_and_large_numbers():
    values = np.array([[-(2**40), 0, 2**40]])
    assert Rescale(-(2.0**40), 2.0**40)(values)[0, :, 1].tolist() == [0, 128, 255]


TYPES = st.sampled_from([np.uint8, np.uint16, np.int16, np.float32, np.float64, bool])


@given(arrays(TYPES, array_shapes(min_dims=2, max_dims=2)))
@pytest.mark.filterwarnings("ignore:overflow encountered")  # in numpy's percentile, of numbers near the largest
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_any_values_become_eight_bits(pixels):
    rgb = Rescale.of(pixels)(pixels)
    assert rgb.shape == (*pixels.shape, 3) and rgb.dtype == np.uint8
    if pixels.dtype.kind in "ui":
        order = np.argsort(pixels, axis=None)
        assert (np.diff(rgb[..., 0].ravel()[order].astype(int)) >= 0).all()


def test_eight_bits_stay_and_what_is_no_number_is_black():
    assert (open_array(RGB8).read_rgb8(0, 0, 70, 90) == RGB8).all()
    holes = FLOAT.copy()
    holes[:2] = np.nan
    holes[2], holes[3] = np.inf, -np.inf
    rgb = open_array(holes).read_rgb8(0, 0, 70, 90)
    assert not rgb[:2].any() and (rgb[2] == 255).all() and not rgb[3].any() and len(np.unique(rgb[4:])) > 200
    assert not open_array(np.full((3, 3), np.nan)).read_rgb8(0, 0, 3, 3).any()
    assert not open_array(np.full((3, 3), 0.25)).read_rgb8(0, 0, 3, 3).any()
    assert open_array(np.eye(3, dtype=bool)).read_rgb8(0, 0, 3, 3)[..., 0].tolist() == (np.eye(3) * 255).tolist()
