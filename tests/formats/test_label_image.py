import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.io import imread

from nucleus.errors import InputError
from nucleus.formats.label_image import read_label_image, write_label_image


@pytest.mark.parametrize(
    ("suffix", "largest", "dtype"),
    [("png", 255, np.uint8), ("png", 65535, np.uint16), ("tif", 255, np.uint8), ("tif", 70_000, np.uint32)],
)
def test_the_smallest_type_holds_the_labels_and_outsiders_read_them(tmp_path, suffix, largest, dtype):
    labels = np.random.default_rng(0).integers(0, largest + 1, (20, 30))
    labels[0, 0] = largest
    path = tmp_path / f"labels.{suffix}"
    write_label_image(path, labels)
    assert (read_label_image(path) == labels).all()
    outside = imread(path)
    assert outside.dtype == dtype and (outside == labels).all()


def test_more_labels_than_a_png_holds_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.tif"):
        write_label_image(tmp_path / "labels.png", np.array([[70_000]]))
    assert not list(tmp_path.iterdir())


def test_colours_and_fractions_are_no_labels(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    with pytest.raises(InputError, match="one channel"):
        read_label_image(tmp_path / "colour.png")
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((4, 4), np.float32))
    with pytest.raises(InputError, match="whole numbers"):
        read_label_image(tmp_path / "float.tif")


def test_broken_and_missing_files_are_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    (tmp_path / "broken.tif").write_bytes(b"II*\0not a picture")
    for name in ("broken.png", "broken.tif", "missing.png"):
        with pytest.raises(InputError, match=name):
            read_label_image(tmp_path / name)
