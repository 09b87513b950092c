from __future__ import annotations

import numpy as np
import pytest
import tifffile

from nucleus.errors import InputError
from nucleus.formats.disk_array import DiskArray
from nucleus.formats.image_source import open_array, open_image
from nucleus.inference import segment as module
from nucleus.inference.segment import is_blank, plan, plans, segment
from nucleus.inference.tile_store import TileStore
from nucleus.inference.tiling import plan_tiles


def test_whole_and_tiled_are_equal(source, truth, segmenter, same_nuclei):
    whole = segment(source, segmenter, plan(source, segmenter, None))
    grid = plan(source, segmenter, 256)
    tiled = segment(source, segmenter, grid)
    assert (whole.tiles, tiled.tiles, tiled.cut, tiled.full) == (1, len(grid), 0, 0)
    assert len(grid) >= 12
    assert same_nuclei(truth, whole.labels)
    assert same_nuclei(truth, tiled.labels)
    pixels = truth > 0
    np.testing.assert_array_equal(tiled.scores[tiled.labels[pixels] - 1], 0.5 + truth[pixels] % 100 / 200)


def test_batches_change_nothing(source, segmenter):
    grid = plan(source, segmenter, 256)
    one = segment(source, segmenter, grid)
    done: list[int] = []
    several = segment(source, segmenter, grid, batch=3, progress=done.append)
    np.testing.assert_array_equal(one.labels, several.labels)
    np.testing.assert_array_equal(one.scores, several.scores)
    assert sum(done) == len(grid) > max(done) > 1


def test_label_image_on_disk(source, segmenter, tmp_path, monkeypatch):
    grid = plan(source, segmenter, 256)
    expected = segment(source, segmenter, grid)
    monkeypatch.setattr(module, "LARGE", 1000)
    found = segment(source, segmenter, grid, store=TileStore(tmp_path / "tiles", {}))
    assert isinstance(found.labels, DiskArray)
    np.testing.assert_array_equal(found.labels[:], expected.labels)


def test_what_is_kept_is_not_asked_for_again(source, new_segmenter, tmp_path):
    first, second, third = new_segmenter(), new_segmenter(), new_segmenter()
    grid = plan(source, first, 256)
    store = TileStore(tmp_path / "tiles", {})
    expected = segment(source, first, grid, store=store, batch=2)
    again = segment(source, second, grid, store=store, batch=2)
    assert second.seen == []
    np.testing.assert_array_equal(again.labels, expected.labels)
    # One of a batch is gone: all of it is shown again, so that the network sees the same batch.
    (tmp_path / "tiles" / "tile_0000001.npz").unlink()
    np.testing.assert_array_equal(segment(source, third, grid, store=store, batch=2).labels, expected.labels)
    assert len(third.seen) == 2


def test_blank_tiles_are_not_shown(segmenter, picture_of, same_nuclei):
    labels = np.zeros((300, 900), dtype=np.int32)
    labels[100:120, 30:50] = 7
    source = open_array(picture_of(labels))
    grid = plan(source, segmenter, 256)
    found = segment(source, segmenter, grid)
    assert same_nuclei(labels, found.labels)
    assert found.blank == len(grid) - len(segmenter.seen) > len(grid) / 2


def test_a_whole_image_is_shown_even_if_blank(segmenter):
    source = open_array(np.zeros((50, 60), dtype=np.uint8))
    found = segment(source, segmenter, plan(source, segmenter, None))
    assert segmenter.seen == [(50, 60)]
    assert (found.blank, found.labels.max(), len(found.scores)) == (0, 0, 0)


def test_blank_by_hand():
    view = np.full((64, 64, 3), 100, dtype=np.uint8)
    assert is_blank(view)
    noisy = view + np.random.default_rng(0).integers(0, 4, view.shape, dtype=np.uint8)
    assert is_blank(noisy)
    view[30:35, 30:35, 1] = 120  # five pixels of one channel
    assert not is_blank(view)
    assert is_blank(np.zeros((1, 1, 3), dtype=np.uint8))


def test_tiles_that_are_full_are_counted(source, new_segmenter):
    segmenter = new_segmenter(max_detections=1)
    grid = plan(source, segmenter, 256)
    found = segment(source, segmenter, grid)
    assert found.full == len(grid) - found.blank
    segmenter.threshold = 0.999  # what is below is no nucleus, however many there are
    assert segment(source, segmenter, grid).full == 0


def test_a_next_grid_is_finer(segmenter):
    def tiles(height, width, tile=None):
        source = open_array(np.broadcast_to(np.uint8(0), (height, width)))
        return [max(max(one.read.height, one.read.width) for one in grid) for grid in plans(source, segmenter, tile)]

    assert tiles(1100, 600) == [1100, 512, 256]
    assert tiles(3000, 3000) == [1024]  # of a large image, not all again for one tile
    assert tiles(400, 400) == [400] and tiles(3000, 3000, 640) == [640]


def test_plan_by_size(segmenter):
    def tiles(height, width, tile=None):
        return plan(open_array(np.broadcast_to(np.uint8(0), (height, width))), segmenter, tile)

    assert len(tiles(1536, 1536)) == 1
    large = tiles(1537, 300)
    assert (len(large), large.margin) == (2, 128)
    assert max(tile.read.height for tile in large) <= 1024
    assert tiles(1000, 1000, 256).margin == 64
    with pytest.raises(InputError, match="tile: expected 256 pixels or more, found 200"):
        tiles(1000, 1000, 200)


def test_a_strip_that_memory_would_not_hold_is_refused(segmenter):
    segmenter.scale_of = lambda height, width: 512 / min(height, width)
    assert len(plan(open_array(np.zeros((20, 20), np.uint8)), segmenter, None)) == 1
    for height, width in ((1, 1500), (3, 3000)):
        with pytest.raises(InputError, match=r"at most 33,554,432 pixels as the network sees it, found"):
            plan(open_array(np.zeros((height, width), np.uint8)), segmenter, None)
    assert len(plan(open_array(np.zeros((3, 3000), np.uint8)), segmenter, 256)) > 10


@pytest.mark.parametrize("scale", [2.0, 8.0])
def test_plan_of_an_image_that_is_enlarged(segmenter, scale):
    """What the network sees at once does not grow with the scale, unless somebody asks for it."""
    segmenter.scale = scale
    segmenter.scale_of = lambda height, width: scale
    image = open_array(np.broadcast_to(np.uint8(0), (1500, 1500)))
    seen = max(tile.read.height * scale for tile in plan(image, segmenter, None))
    assert seen <= max(1536, 256 * scale)
    if scale == 2:
        assert len(plan(image, segmenter, 1500)) == 1
    else:
        with pytest.raises(InputError, match=r"found 1500 x 1500, enlarged 8 times. Set a smaller --scale or --tile"):
            plan(image, segmenter, 1500)


def test_plan_of_an_image_that_is_made_smaller(segmenter):
    """The margin is that of the network's pixels, and a tile is large enough to begin on its strides."""
    large = open_array(np.broadcast_to(np.uint8(0), (3000, 4000)))
    for scale, margin in ((0.5, 256), (0.25, 256), (0.4, 160)):
        segmenter.scale_of = lambda height, width, scale=scale: scale
        grid = plan(large, segmenter, None)
        assert grid.margin == margin
        assert all(tile.read.left * scale % 64 == 0 for tile in grid if tile.read.right < 4000)
    with pytest.raises(InputError, match=r"tile: expected 640 pixels or more of an image scaled by 0\.4, found 512"):
        plan(large, segmenter, 512)


@pytest.mark.parametrize("short", [8, 100, 300, 353, 359, 360, 383, 384, 2000])
@pytest.mark.parametrize("tile", [256, 300, 1024])
def test_tiles_begin_on_the_strides_of_the_network(segmenter, short, tile):
    """At any factor by which a narrow image is enlarged; to a fraction of a stride at the odd ones."""
    scale = max(1.0, 384 / short)
    segmenter.scale_of = lambda height, width: scale
    grid = plan(open_array(np.broadcast_to(np.uint8(0), (short, 3000))), segmenter, tile)
    assert max(one.read.width for one in grid) <= tile
    assert grid.margin >= min(one.read.width for one in grid) / 8
    second = sorted({one.read.left for one in grid})[1] * scale
    assert abs(second - round(second / 64) * 64) <= 64 / 3
    if short in (300, 360, 384, 2000):
        assert abs(second - round(second / 64) * 64) < 1e-6


def test_16_bits_are_scaled_by_the_whole_image(segmenter, tmp_path):
    """A tile of faint pixels alone stays faint."""
    pixels = np.zeros((400, 700), dtype=np.uint16)
    pixels[:, 350:] = np.linspace(0, 60_000, 350, dtype=np.uint16)
    pixels[100:110, 100:110] = 500
    tifffile.imwrite(tmp_path / "deep.tif", pixels)
    shown = []
    predict_batch = segmenter.predict_batch
    segmenter.predict_batch = lambda images, frames: shown.extend(images) or predict_batch(images, frames=frames)
    with open_image(tmp_path / "deep.tif") as source:
        segment(source, segmenter, plan_tiles(400, 700, tile=256, margin=64))
        expected = source.read_rgb8(0, 0, 256, 256)
    assert shown and max(view.max() for view in shown) == 255
    assert expected.max() == 2  # 500 of 60,000: the tile is blank
    assert all(view.shape[1] < 256 or view[:, 128:].any() for view in shown)
