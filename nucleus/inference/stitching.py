"""From the nuclei of tiles to those of the image: each once, none cut, in memory for one row of tiles.

A tile offers the nuclei that it owns (see `tiling`) and, since two tiles may place the centre of one nucleus some
pixels apart, those whose centre lies up to `slack` pixels outside its write region. Tiles come in order. What a tile
offers is painted whole, across the seam, unless more than half of its pixels are taken already: an earlier tile has
given that nucleus then. So no nucleus is lost between two tiles, none is double, and none ends at a seam.

The result depends on the order of the tiles alone, not on when or where each was predicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nucleus.inference.tiling import Tile, TileGrid
from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.resolve_overlaps import MIN_KEPT

SLACK = 0.25  # of the margin; the rest of it stays as surroundings for whatever is offered


@dataclass(frozen=True)
class StitchedNucleus:
    """A nucleus in the output.

    Attributes:
        label: its number in the label image, from 1.
        score: in [0, 1].
        left, top: of its box in the image, in pixels.
        mask: bool (h, w), the pixels that it has in the label image.
    """

    label: int
    score: float
    left: int
    top: int
    mask: np.ndarray


class Stitcher:
    """Paints the nuclei of one image, row of tiles by row of tiles.

    Args:
        grid: the tiles. Every one of them, in order, is to be given to `add`.

    Attributes:
        count: nuclei painted so far.
        reaching_out: nuclei painted so far that end at an inner edge of a read region: larger than the margin, so that
            the network may not have seen all of them.
    """

    def __init__(self, grid: TileGrid) -> None:
        self.grid = grid
        self.count = 0
        self.reaching_out = 0
        self._top = 0  # row of the image at the top of the band
        self._expected = 0
        tallest = max(row[0].read.height for row in grid.rows)
        self._band = np.zeros((tallest, grid.width), dtype=np.int32)

    def add(self, tile: Tile, masks: BoxMasks, scores: np.ndarray) -> list[StitchedNucleus]:
        """Paint what a tile offers.

        Args:
            tile: the next one in order, after `finished_rows` was taken where it begins a new row.
            masks: its nuclei in its read region, none overlapping, best first.
            scores: (N,).

        Returns:
            The nuclei painted, in the order of their labels.

        Raises:
            ValueError: another tile is due.
        """
        if tile.number != self._expected:
            raise ValueError(f"expected tile {self._expected}, found tile {tile.number}")
        self._expected += 1
        painted = []
        offered = _offered(tile, masks, int(self.grid.margin * SLACK))
        for index in offered.tolist():
            left, top, right, bottom = masks.boxes[index].tolist()
            crop = masks[index].crops()[0]
            row, column = tile.read.top + top - self._top, tile.read.left + left
            view = self._band[row : row + bottom - top, column : column + right - left]
            free = crop & (view == 0)
            if np.count_nonzero(free) < MIN_KEPT * np.count_nonzero(crop):
                continue
            self.count += 1
            self.reaching_out += _reaches_out(tile, self.grid, (left, top, right, bottom))
            view[free] = self.count
            painted.append(StitchedNucleus(self.count, float(scores[index]), column, tile.read.top + top, free))
        return painted

    def finished_rows(self, next_tile: Tile | None) -> Iterator[np.ndarray]:
        """Rows of the label image that no tile from `next_tile` on can change; None after the last tile.

        Yields:
            At the most one array, int32 (rows, W): the rows after those given before.
        """
        bottom = self.grid.height if next_tile is None else next_tile.read.top
        rows = bottom - self._top
        if rows <= 0:
            return
        yield self._band[:rows].copy()
        kept = self._band[rows:].copy()
        self._band[: len(kept)] = kept
        self._band[len(kept) :] = 0
        self._top = bottom


def _offered(tile: Tile, masks: BoxMasks, slack: int) -> np.ndarray:
    """Which masks have the centre of their box in the write region or up to `slack` pixels outside of it."""
    centre_x = tile.read.left + (masks.boxes[:, 0] + masks.boxes[:, 2]) / 2
    centre_y = tile.read.top + (masks.boxes[:, 1] + masks.boxes[:, 3]) / 2
    inside = (centre_x >= tile.write.left - slack) & (centre_x < tile.write.right + slack)
    inside &= (centre_y >= tile.write.top - slack) & (centre_y < tile.write.bottom + slack)
    return np.flatnonzero(inside & (masks.areas > 0))


def _reaches_out(tile: Tile, grid: TileGrid, box: tuple[int, int, int, int]) -> bool:
    """Whether a box in the read region touches an edge of it that is not an edge of the image."""
    left, top, right, bottom = box
    read = tile.read
    return (
        (left == 0 and read.left > 0)
        or (top == 0 and read.top > 0)
        or (right == read.width and read.right < grid.width)
        or (bottom == read.height and read.bottom < grid.height)
    )
