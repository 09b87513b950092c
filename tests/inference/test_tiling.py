from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleus.inference.tiling import Region, plan_tiles


def test_small_image_is_one_tile() -> None:
    grid = plan_tiles(100, 80, tile=128, margin=16)
    assert len(grid) == 1
    assert grid.tiles[0].read == grid.tiles[0].write == Region(0, 0, 100, 80)


def test_three_tiles_by_hand() -> None:
    # 20 of 28 pixels of a tile are its own: 0-20, 20-40, and 40-44 goes to the second, whose read region can hold it.
    grid = plan_tiles(28, 44, tile=28, margin=4)
    assert [(tile.write.left, tile.write.right) for tile in grid] == [(0, 20), (20, 44)]
    assert [(tile.read.left, tile.read.right) for tile in grid] == [(0, 24), (16, 44)]
    assert [tile.number for tile in grid] == [0, 1]


def test_margin_is_rounded_up_to_the_multiple() -> None:
    grid = plan_tiles(1000, 1000, tile=256, margin=50, multiple=64)
    assert grid.margin == 64
    assert {tile.read.left % 64 for tile in grid} == {0}


def test_tile_without_room() -> None:
    with pytest.raises(ValueError, match="at least 129 pixels"):
        plan_tiles(1000, 1000, tile=100, margin=64)


@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    margin=st.integers(0, 40),
    room=st.integers(1, 200),
    multiple=st.sampled_from([1, 2, 32]),
)
def test_write_regions_cover_the_image_once(height: int, width: int, margin: int, room: int, multiple: int) -> None:
    rounded = -(-margin // multiple) * multiple
    size = 2 * rounded + max(room, multiple)
    grid = plan_tiles(height, width, tile=size, margin=margin, multiple=multiple)
    covered = np.zeros((height, width), dtype=int)
    for number, tile in enumerate(grid):
        read, write = tile.read, tile.write
        assert tile.number == number
        covered[write.top : write.bottom, write.left : write.right] += 1
        assert max(read.height, read.width) <= size
        assert read.left == max(0, write.left - grid.margin) if width > size else read.left == 0
        assert read.right == min(width, write.right + grid.margin)
        assert read.top % multiple == 0
        assert read.left % multiple == 0
    assert (covered == 1).all()
