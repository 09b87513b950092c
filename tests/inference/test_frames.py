from __future__ import annotations

import cv2
import numpy as np
import pytest

from nucleus.inference.frames import STRIDE, frame_of
from nucleus.inference.tiling import Region, plan_tiles


def test_by_hand():
    """100 x 192 pixels enlarged twice to 200 x 384; the second tile is read from column 32, network column 64, on."""
    grid = plan_tiles(100, 192, tile=128, margin=32, multiple=32)
    first, second, third = (frame_of(grid, tile, 2.0) for tile in grid)
    assert [tile.read.left for tile in grid] == [0, 32, 96]
    assert (first.seen, first.read) == (Region(0, 0, 200, 192), Region(0, 0, 100, 97))  # a column more to sample from
    assert (second.seen, second.read) == (Region(0, 64, 200, 320), Region(0, 31, 100, 161))
    assert (third.seen, third.read) == (Region(0, 192, 200, 384), Region(0, 95, 100, 192))
    assert second.to_tile() == (0.5, 0.5, 0.0, 0.0)  # network column 0 of the frame is column 0 of the tile


def test_a_frame_off_the_strides_is_moved_to_the_nearest():
    """161 rows of 519 columns enlarged to 512 rows: a column is 3.18 network pixels."""
    grid = plan_tiles(161, 519, tile=300, margin=60, multiple=20)
    for tile in grid:
        frame = frame_of(grid, tile, 512 / 161)
        assert frame.seen.left % STRIDE == 0 and (frame.seen.top, frame.seen.bottom) == (0, 512)
        factor_x, factor_y, left, top = frame.to_tile()
        assert (factor_x, factor_y, top) == pytest.approx((519 / 1650, 161 / 512, 0))
        assert abs(left) <= STRIDE / 2 * factor_x
        assert left == pytest.approx(frame.seen.left * factor_x - tile.read.left)
    assert frame.seen.right == 1650


def test_nothing_is_sampled_at_scale_1():
    grid = plan_tiles(500, 500, tile=256, margin=64)
    pixels = np.zeros((256, 256, 3), np.uint8)
    frame = frame_of(grid, grid.tiles[5], 1.0)
    assert frame.sample(pixels) is pixels
    assert frame.seen == frame.read == frame.tile == grid.tiles[5].read
    assert frame.to_tile() == (1, 1, 0, 0)


@pytest.mark.parametrize("shape", [(161, 519, 3), (253, 519), (400, 2001, 3)])
def test_frames_are_parts_of_the_enlarged_image(shape):
    """OpenCV's resize of the whole image, to a grey level."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pixels = cv2.GaussianBlur(pixels, (0, 0), 1.5)
    scale = 512 / shape[0]
    whole = cv2.resize(pixels, (round(shape[1] * scale), 512), interpolation=cv2.INTER_LINEAR)
    grid = plan_tiles(*shape[:2], tile=300, margin=60, multiple=20)
    assert len(grid) > 1
    for tile in grid:
        frame = frame_of(grid, tile, scale)
        read, seen = frame.read, frame.seen
        part = frame.sample(pixels[read.top : read.bottom, read.left : read.right])
        expected = whole[seen.top : seen.bottom, seen.left : seen.right]
        assert np.abs(part.astype(int) - expected.astype(int)).max() <= 1
