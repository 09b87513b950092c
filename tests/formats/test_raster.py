import cv2
import numpy as np
import pytest
from PIL import Image

from nucleus.errors import InputError
from nucleus.formats.image_source import open_image
from nucleus.formats.raster import read_raster

GREY8 = np.random.default_rng(0).integers(0, 256, (70, 90), dtype=np.uint8)
RGB8 = np.random.default_rng(1).integers(0, 256, (70, 90, 3), dtype=np.uint8)


def test_sixteen_bit_colours_keep_their_order(tmp_path):
    colours = np.random.default_rng(2).integers(0, 65536, (7, 9, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), colours[..., ::-1])
    pixels, pixel_size = read_raster(tmp_path / "a.png")
    assert pixels.dtype == np.uint16 and (pixels == colours).all() and pixel_size is None


def test_a_truncated_file_is_refused(tmp_path):
    Image.fromarray(RGB8).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    for part in (10, 40, len(content) // 2, len(content) - 30):
        (tmp_path / "part.png").write_bytes(content[:part])
        with pytest.raises(InputError, match=r"part\.png: expected a whole PNG"):
            read_raster(tmp_path / "part.png")


def test_the_pixels_of_a_photograph_stay_as_they_are_stored(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(RGB8).save(tmp_path / "a.jpg", exif=turned)
    assert open_image(tmp_path / "a.jpg").shape == (70, 90, 3)


def test_pixel_sizes_of_png(tmp_path):
    Image.fromarray(GREY8).save(tmp_path / "a.png", dpi=(50_800, 25_400))
    assert open_image(tmp_path / "a.png").pixel_size_um == pytest.approx((1.0, 0.5), rel=1e-3)
    Image.fromarray(GREY8).save(tmp_path / "a.png", dpi=(72, 72))
    assert open_image(tmp_path / "a.png").pixel_size_um is None
