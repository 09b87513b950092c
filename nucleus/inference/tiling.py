"""How a large image is cut into tiles.

The words, as `stitching` uses them too:

- The *write region* of a tile is its own part of the image. The write regions of all tiles cover the image without
  overlap.
- The *read region* is what the network sees: the write region and a *margin* around it, as far as the image goes. A
  nucleus near the edge of a write region is seen whole, and with what surrounds it.
- The *owner* of a nucleus is the one tile that gives it to the output: the tile in whose write region the centre of its
  box lies. Two tiles may place that centre some pixels apart; `stitching` says what happens then.

Source of the words: Weigert et al. 2020, StarDist, module `big`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

SMALLEST_TILE = 256  # pixels, with a margin of 64: less surroundings change what the network finds


def smallest_tile(scale: float) -> int:
    """Side of the smallest tile in pixels of an image that the network sees enlarged by `scale`: 256 of either."""
    return math.ceil(SMALLEST_TILE / min(1.0, scale))


@dataclass(frozen=True)
class Region:
    """A rectangle of whole pixels: top and left inside, bottom and right just outside."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left


@dataclass(frozen=True)
class Tile:
    """One tile.

    Attributes:
        number: position in the order of the tiles, row by row, from 0.
        read: what the network sees.
        write: the tile's own part of the image, inside `read`.
    """

    number: int
    read: Region
    write: Region


@dataclass(frozen=True)
class TileGrid:
    """The tiles of one image.

    Attributes:
        height: of the image, in pixels.
        width: of the image, in pixels.
        margin: pixels by which a read region exceeds its write region inside the image.
        tiles: row by row from the top, each row from the left.
    """

    height: int
    width: int
    margin: int
    tiles: tuple[Tile, ...]

    def __len__(self) -> int:
        return len(self.tiles)

    def __iter__(self) -> Iterator[Tile]:
        return iter(self.tiles)


def plan_tiles(height: int, width: int, *, tile: int, margin: int, multiple: int = 1) -> TileGrid:
    """Cut an image into tiles.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        tile: largest side of a read region, in pixels.
        margin: pixels around a write region; no nucleus that is to stay whole may be larger.
        multiple: read regions begin at multiples of this many pixels, so that a convolutional network with strides
            up to that sees the same grid in a tile as in the whole image; `margin` is rounded up to one.

    Returns:
        The grid. An image no larger than `tile` is one tile without margin. The last tile of a row or column takes
        what would be left over if its read region still holds it.

    Raises:
        ValueError: a size is not positive, or two margins leave no room in the tile.
    """
    margin = -(-margin // multiple) * multiple
    step = (tile - 2 * margin) // multiple * multiple
    if min(height, width, tile, multiple) < 1 or margin < 0:
        raise ValueError(f"expected positive sizes, found image {height} x {width}, tile {tile}, margin {margin}")
    if step < 1 and max(height, width) > tile:
        raise ValueError(f"expected a tile of at least {2 * margin + multiple} pixels, found {tile}")
    tiles: list[Tile] = []
    for read_top, top, bottom, read_bottom in _spans(height, tile, margin, step):
        for read_left, left, right, read_right in _spans(width, tile, margin, step):
            read = Region(read_top, read_left, read_bottom, read_right)
            tiles.append(Tile(len(tiles), read, Region(top, left, bottom, right)))
    return TileGrid(height, width, margin, tuple(tiles))


def _spans(length: int, tile: int, margin: int, step: int) -> list[tuple[int, int, int, int]]:
    """Along one side: where each read region starts, its write region starts and stops, and the read region stops."""
    if length <= tile:
        return [(0, 0, length, length)]
    spans = []
    start = 0
    while start < length:
        stop = start + step
        if length - stop <= margin:
            stop = length
        spans.append((max(0, start - margin), start, stop, min(length, stop + margin)))
        start = stop
    return spans
