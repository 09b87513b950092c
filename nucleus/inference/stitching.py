"""From the nuclei of tiles to those of the image: each once, none cut.

A tile offers the nuclei that it owns (see `tiling`) and, since two tiles may place the centre of one nucleus some
pixels apart, those whose centre lies up to `slack` pixels outside its write region. Tiles come in order. What a tile
offers is painted whole, across the seam, unless more than half of its pixels are taken already: an earlier tile has
given that nucleus then. So no nucleus is lost between two tiles, none is double, and none ends at a seam.

The result depends on the order of the tiles alone, not on when or where each was predicted.
"""

from __future__ import annotations

import numpy as np

from nucleus.formats.disk_array import DiskArray
from nucleus.inference.tiling import Tile, TileGrid
from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.resolve_overlaps import MIN_KEPT

SLACK = 0.25  # of the margin; the rest of it stays as surroundings for whatever is offered


def offered(tile: Tile, masks: BoxMasks, margin: int) -> np.ndarray:
    """Tell which nuclei a tile offers.

    Args:
        tile: one tile.
        masks: nuclei in its read region.
        margin: of the grid, in pixels.

    Returns:
        int64 (n,): indices of those with the centre of their box in the write region, or less than a quarter of the
        margin outside of it.
    """
    slack = margin * SLACK
    centre_x = tile.read.left + (masks.boxes[:, 0] + masks.boxes[:, 2]) / 2
    centre_y = tile.read.top + (masks.boxes[:, 1] + masks.boxes[:, 3]) / 2
    inside = (centre_x >= tile.write.left - slack) & (centre_x < tile.write.right + slack)
    inside &= (centre_y >= tile.write.top - slack) & (centre_y < tile.write.bottom + slack)
    return np.flatnonzero(inside & (masks.areas > 0))


class Stitcher:
    """Paints the nuclei of one image into its label image, tile by tile.

    Args:
        grid: the tiles. Each of them, in order, is to be given to `add`.
        labels: int32 (H, W), all 0; also on disk.

    Attributes:
        scores: of label 1, 2, ... so far.
        cut: how many of these end at an inner edge of a read region: larger than the margin, so that the network may
            not have seen all of them.
    """

    def __init__(self, grid: TileGrid, labels: np.ndarray | DiskArray) -> None:
        self.grid = grid
        self.labels = labels
        self.scores: list[float] = []
        self.cut = 0
        self._expected = 0

    def add(self, tile: Tile, masks: BoxMasks, scores: np.ndarray) -> None:
        """Paint what a tile offers.

        Args:
            tile: the next one in order.
            masks: N nuclei in its read region, none overlapping another, best first; only those it offers count.
            scores: (N,).

        Raises:
            ValueError: another tile is due.
        """
        if tile.number != self._expected:
            raise ValueError(f"expected tile {self._expected}, found tile {tile.number}")
        self._expected += 1
        crops = masks.crops()
        for index in offered(tile, masks, self.grid.margin).tolist():
            left, top, right, bottom = masks.boxes[index].tolist()
            row, column = tile.read.top + top, tile.read.left + left
            view = self.labels[row : row + bottom - top, column : column + right - left]
            free = crops[index] & (view == 0)
            if np.count_nonzero(free) < MIN_KEPT * np.count_nonzero(crops[index]):
                continue
            self.scores.append(float(scores[index]))
            self.cut += _is_cut(tile, self.grid, (left, top, right, bottom))
            view[free] = len(self.scores)


def _is_cut(tile: Tile, grid: TileGrid, box: tuple[int, int, int, int]) -> bool:
    """Whether a box in the read region touches an edge of it that is no edge of the image."""
    left, top, right, bottom = box
    read = tile.read
    return (
        (left == 0 and read.left > 0)
        or (top == 0 and read.top > 0)
        or (right == read.width and read.right < grid.width)
        or (bottom == read.height and read.bottom < grid.height)
    )
