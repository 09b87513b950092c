"""Every kind of file that a microscope or a hostile person may give."""

import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile

from nucleus.app.limits import Limits
from nucleus.app.reading import Choice, ChoiceNeededError, Choices, read_picture
from nucleus.app.refusals import RefusalError, sentence_of
from nucleus.errors import InputError
from nucleus.formats.rescale import Rescale


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def read(path, **choice):
    return read_picture(path, Choice(**choice), Limits())


def test_grey_tiff_of_16_bit_with_pixel_size(path):
    pixels = np.random.default_rng(0).integers(100, 4000, (20, 30), dtype=np.uint16)
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5})
    picture = read(path)
    assert (picture.bits, picture.choices, picture.source.pixel_size_um) == (16, Choices(), (0.5, 0.5))
    assert np.array_equal(picture.rgb, Rescale.of(pixels)(pixels))
    path.unlink()  # all in memory
    assert np.array_equal(picture.source.read_all(), pixels)


def test_rgba_and_grey_png(path):
    rgba = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    path.write_bytes(cv2.imencode(".png", rgba)[1].tobytes())
    assert np.array_equal(read(path).rgb, rgba[..., 2::-1])
    path.write_bytes(cv2.imencode(".png", rgba[..., 0])[1].tobytes())
    picture = read(path)
    assert picture.source.shape == (9, 7) and np.array_equal(picture.rgb[..., 1], rgba[..., 0])


def test_channels_are_asked_about_and_all_are_measured(path):
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    names = {"Name": ["DAPI", "<b>actin"]}
    tifffile.imwrite(path, pixels, ome=True, photometric="minisblack", metadata={"axes": "CYX", "Channel": names})
    with pytest.raises(ChoiceNeededError) as asked:
        read(path)
    assert asked.value.choices == Choices(channels=["DAPI", "<b>actin"])
    picture = read(path, channels=(1,))
    assert np.array_equal(picture.rgb[..., 0], pixels[1])
    assert picture.source.every_channel == ("DAPI", "<b>actin") and picture.source.channel_names == ("<b>actin",)
    assert np.array_equal(picture.source.read_every_channel(0, 0, 3, 4), pixels.transpose(1, 2, 0))
    with pytest.raises(InputError):
        read(path, channels=(2,))


@pytest.mark.parametrize("count", [2, 4, 5])
def test_the_last_channel_is_none_of_transparency(path, count):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 5, 6), dtype=np.uint8)
    names = [f"stain {number}" for number in range(count)]
    tifffile.imwrite(
        path, pixels, ome=True, photometric="minisblack", metadata={"axes": "CYX", "Channel": {"Name": names}}
    )
    picture = read(path, channels=(count - 1,))
    assert np.array_equal(picture.rgb[..., 0], pixels[-1])
    assert picture.source.every_channel == tuple(names)


def test_three_channels_as_colours(path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 6), dtype=np.uint8)
    tifffile.imwrite(path, pixels, ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    with pytest.raises(ChoiceNeededError) as asked:
        read(path)
    assert asked.value.choices == Choices(channels=["Channel 0", "Channel 1", "Channel 2"])
    assert np.array_equal(read(path, channels=(2, 1, 0)).rgb, pixels[::-1].transpose(1, 2, 0))


def test_pages_are_asked_about(path):
    pixels = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
    tifffile.imwrite(path, pixels, ome=True, photometric="minisblack", metadata={"axes": "ZYX"})
    with pytest.raises(ChoiceNeededError) as asked:
        read(path)
    assert asked.value.choices == Choices(pages=5)
    picture = read(path, page=3)
    assert np.array_equal(picture.rgb[..., 0], pixels[3]) and picture.choices == Choices(pages=5)


def test_several_images_are_asked_about(path):
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.zeros((4, 5), dtype=np.uint8))
        tiff.write(np.full((6, 7), 9, dtype=np.uint8))
    with pytest.raises(ChoiceNeededError) as asked:
        read(path)
    assert asked.value.choices == Choices(series=["4 x 5", "6 x 7"])
    assert read(path, series=1).rgb.shape == (6, 7, 3)


def header_of_png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
    )


@pytest.mark.parametrize(("width", "height"), [(5000, 4000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_large_images_are_refused_before_they_are_decoded(path, width, height):
    path.write_bytes(header_of_png(width, height))
    with pytest.raises(RefusalError, match="nucleus predict"):
        read(path)


def test_large_tiff_is_refused(path):
    tifffile.imwrite(path, shape=(5000, 4000), dtype=np.uint8)
    with pytest.raises(RefusalError, match=r"4,000 x 5,000 pixels; the page takes up to 16\.8 million"):
        read(path)


def test_many_channels_are_not_kept(path):
    tifffile.imwrite(path, np.zeros((50, 64, 64), dtype=np.uint16), ome=True, metadata={"axes": "CYX"})
    picture = read_picture(path, Choice(channels=(7,)), Limits(kept_bytes=100_000))
    assert picture.source.read_every_channel(0, 0, 64, 64).shape == (64, 64, 1)


@pytest.mark.parametrize("content", [b"hello", b"II*\0" + bytes(20), b"\x89PNG\r\n\x1a\n" + bytes(50), b"\xff\xd8\xff"])
def test_broken_files_get_a_sentence_without_a_path(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read(path)
    sentence = sentence_of(error.value)
    assert str(path.parent) not in sentence and path.name + "'" not in sentence and "Traceback" not in sentence


def test_sentences_hold_no_path_and_no_option():
    error = InputError("/tmp/nucleus-page-x1/uploaded image", expected="a grey image",
                       found="no such file: '/tmp/nucleus-page-x1/uploaded image' in /home/me/data/a.tif or C:\\a\\b",
                       remedy="Choose one with --channel.")  # fmt: skip
    assert sentence_of(error) == (
        "This file could not be used: expected a grey image, found no such file: 'a file' in a file or a file."
    )
