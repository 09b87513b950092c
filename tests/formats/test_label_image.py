import tracemalloc

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.io import imread

from nucleus.errors import InputError
from nucleus.formats import label_image
from nucleus.formats.image_source import open_image
from nucleus.formats.label_image import read_label_image, tiles_of, write_label_image, write_label_tiles


@pytest.mark.parametrize(
    ("suffix", "largest", "dtype"),
    [("png", 255, np.uint8), ("png", 65535, np.uint16), ("tif", 255, np.uint16), ("tif", 70_000, np.uint32)],
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


LABELS = np.random.default_rng(0).integers(0, 300, (600, 700)).astype(np.int32)


def test_the_pixel_size_is_kept_and_others_read_it(tmp_path):
    path = tmp_path / "labels.tif"
    write_label_image(path, LABELS, pixel_size_um=(0.5, 0.25))
    assert open_image(path).pixel_size_um == pytest.approx((0.5, 0.25))
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert page.dtype == np.uint16 and page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert file.imagej_metadata["unit"] == "um"
        assert page.tags["XResolution"].value == (4, 1) and page.tags["YResolution"].value == (2, 1)
        assert not page.is_tiled and page.rowsperstrip < 600  # ImageJ without Bio-Formats opens no tiles
    assert (imread(path) == LABELS).all() and (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == LABELS).all()
    write_label_image(path, LABELS)
    assert open_image(path).pixel_size_um is None


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_a_large_image_is_written_tile_by_tile_from_disk(tmp_path, dtype):
    labels = np.memmap(tmp_path / "labels.bin", np.int32, "w+", shape=(1000, 20_001))
    labels[::7, ::3] = 4
    labels[-1, -1] = 70_000 if dtype == np.uint32 else 65_535
    tracemalloc.start()
    write_label_image(tmp_path / "labels.tif", labels, pixel_size_um=(0.5, 0.5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < labels.nbytes / 2
    with tifffile.TiffFile(tmp_path / "labels.tif") as file:
        page = file.pages[0]
        assert page.tile == (512, 512) and page.dtype == dtype and not file.is_bigtiff
    assert (tifffile.imread(tmp_path / "labels.tif") == labels).all()
    assert (read_label_image(tmp_path / "labels.tif") == labels).all()


def test_what_could_pass_four_gibibytes_is_a_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr(label_image, "CLASSIC", 1000)
    write_label_image(tmp_path / "labels.tif", LABELS)
    with tifffile.TiffFile(tmp_path / "labels.tif") as file:
        assert file.is_bigtiff and (file.asarray() == LABELS).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.booleans())
def test_any_size_is_whole(tmp_path_factory, height, width, tile, striped):
    tile *= 16
    labels = np.arange(height * width).reshape(height, width) * 40
    path = tmp_path_factory.getbasetemp() / "any.tif"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_image, "TILE", tile)
        patch.setattr(label_image, "LARGEST_STRIPED", 4096 if striped else 0)
        write_label_image(path, labels)
    assert (tifffile.imread(path).reshape(labels.shape) == labels).all()  # imread drops sides of 1
    assert (read_label_image(path) == labels).all()


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ([LABELS[:512, :512]], "expected 4 tiles, found 1"),
        ([*tiles_of(LABELS), LABELS], "no more tiles"),
        ([LABELS[:512, 512:]] * 4, r"\(512, 512\) pixels in tile 1"),
        ([tile + 1 for tile in tiles_of(LABELS)], "labels from 0 to 299"),
        ([tile - 1 for tile in tiles_of(LABELS)], "labels from 0 to 299"),
    ],
)
@pytest.mark.parametrize("largest_striped", [0, 4096])
def test_wrong_tiles_leave_no_file(tmp_path, tiles, message, largest_striped, monkeypatch):
    monkeypatch.setattr(label_image, "LARGEST_STRIPED", largest_striped)
    with pytest.raises(ValueError, match=message):
        write_label_tiles(tmp_path / "labels.tif", iter(tiles), 600, 700, largest=299)
    assert not list(tmp_path.iterdir())


def test_stacks_and_huge_files_are_refused(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([LABELS, LABELS]), photometric="minisblack")
    with pytest.raises(InputError, match="one channel"):
        read_label_image(tmp_path / "stack.tif")
    monkeypatch.setattr(label_image, "MOST_PIXELS", 1000)
    write_label_image(tmp_path / "large.tif", LABELS)
    with pytest.raises(InputError, match=r"a label image .* a shape of"):
        read_label_image(tmp_path / "large.tif")
