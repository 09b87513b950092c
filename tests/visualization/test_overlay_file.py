import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucleus.formats import tiff
from nucleus.formats.image_source import open_array, open_image
from nucleus.visualization.overlay import overlay_outlines
from nucleus.visualization.overlay_file import reduced, write_overlay_png

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
LABELS = np.zeros((60, 90), np.int32)
LABELS[10:30, 20:50] = 1


def test_a_small_image_is_drawn_as_it_is(tmp_path):
    write_overlay_png(tmp_path / "a.png", LABELS, open_array(PIXELS), color=(255, 0, 0))
    found = np.asarray(Image.open(tmp_path / "a.png"))
    assert (found == overlay_outlines(PIXELS, LABELS, (255, 0, 0))).all()
    assert found[10, 20].tolist() == [255, 0, 0] and (found[15, 25] == PIXELS[15, 25]).all()


@pytest.mark.parametrize("longest", [45, 30, 7])
def test_a_large_one_is_reduced_by_a_whole_number(tmp_path, longest):
    write_overlay_png(tmp_path / "a.png", LABELS, open_array(PIXELS), color=(255, 0, 0), longest=longest)
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    factor = -(-90 // longest)
    assert picture.shape == (60 // factor, 90 // factor, 3)
    small, labels = reduced(LABELS, open_array(PIXELS), longest)
    whole = PIXELS[: 60 // factor * factor, : 90 // factor * factor]
    means = whole.reshape(60 // factor, factor, 90 // factor, factor, 3).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 1
    middle = slice(factor // 2, None, factor)
    assert (labels == LABELS[middle, middle][: labels.shape[0], : labels.shape[1]]).all()


def test_a_narrow_image_keeps_a_row(tmp_path):
    write_overlay_png(tmp_path / "a.png", LABELS[:1], open_array(PIXELS[:1]), longest=10)
    assert Image.open(tmp_path / "a.png").size == (10, 1)


def test_memory_goes_with_the_picture(tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.setattr(tiff, "AT_ONCE", 0)
    tifffile.imwrite(tmp_path / "a.tif", shape=(4096, 4096, 3), dtype=np.uint8, tile=(256, 256), compression="zlib",
                     photometric="rgb", data=iter([np.full((256, 256, 3), 9, np.uint8)] * 256))  # fmt: skip
    labels = np.memmap(tmp_path / "labels.bin", np.int32, "w+", shape=(4096, 4096))
    labels[:2000, :2000] = 1
    with open_image(tmp_path / "a.tif") as image:
        image.read(0, 0, 1, 1)
        tracemalloc.start()
        write_overlay_png(tmp_path / "a.png", labels, image, longest=256)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4096 * 4096 * 3 * 2 / 3
    assert Image.open(tmp_path / "a.png").size == (256, 256)


def test_another_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="pixels"):
        write_overlay_png(tmp_path / "a.png", LABELS[1:], open_array(PIXELS))
    assert not list(tmp_path.iterdir())
