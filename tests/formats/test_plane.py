import numpy as np
import pytest

from nucleus.errors import InputError
from nucleus.formats.plane import Plane
from nucleus.formats.stored import Stored

# Two times, three channels, 4 x 5 pixels; a value says where it is: time, channel, row, column.
STACK = np.fromfunction(lambda t, c, y, x: 1000 * t + 100 * c + 10 * y + x, (2, 3, 4, 5), dtype=int)
NAMES = ("DNA", "actin", "tubulin")


def plane(axes="TCYX", channels=None, page=None, **more):
    """The stack with its axes in another order."""
    pixels = STACK.transpose(["TCYX".index(letter) for letter in axes])
    return Plane(Stored(pixels, axes, channel_names=NAMES, **more), "file", channels, page)


@pytest.mark.parametrize("axes", ["TCYX", "CTYX", "YXTC", "XYCT"])
def test_whatever_the_order_of_the_axes(axes):
    chosen = plane(axes, channels=["actin", 0, "2"], page=1)
    assert chosen.channels == [1, 0, 2] and chosen.channel_count == 3
    assert chosen.length("Y") == 4 and chosen.length("X") == 5 and chosen.length(None) == 1
    assert chosen.read(1, 2, 3, 3, chosen.channels).tolist() == [[[1112, 1012, 1212]], [[1122, 1022, 1222]]]
    assert chosen.read(1, 2, 3, 3, [2]).tolist() == [[1212], [1222]]


def test_pages_count_with_the_last_axis_fastest():
    pixels = np.arange(6).reshape(2, 3, 1, 1)
    pages = [Plane(Stored(pixels, "TZYX"), "file", None, page).read(0, 0, 1, 1, [0]) for page in range(6)]
    assert np.ravel(pages).tolist() == [0, 1, 2, 3, 4, 5]


def test_red_green_and_blue_need_no_choice_and_alpha_is_none():
    pixels = np.arange(8).reshape(1, 2, 4)
    rgba = Plane(Stored(pixels, "YXS", is_rgb=True), "file", None, None)
    assert rgba.channels == [0, 1, 2] and rgba.channel_count == 3
    assert rgba.read(0, 0, 1, 2, rgba.channels).tolist() == [[[0, 1, 2], [4, 5, 6]]]


@pytest.mark.parametrize(
    ("channels", "page", "message"),
    [
        (None, 0, r"a grey or RGB image, found 3 channels \(DNA, actin, tubulin\)"),
        ([0, 1], 0, "one channel or three, of 0 to 2 or DNA, actin, tubulin, found 0, 1"),
        (["membrane"], 0, "found membrane"),
        ([0], None, r"one image, found a stack of 2 \(2 T\)"),
        ([0], 2, "a page from 0 to 1, found page 2"),
    ],
)
def test_what_has_to_be_chosen(channels, page, message):
    with pytest.raises(InputError, match=message):
        plane(channels=channels, page=page)
