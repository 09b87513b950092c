"""What the network sees of each tile of an enlarged image: exactly what it would see there of the whole image.

Enlarged by a factor such as 512 / 161, the edges of a tile fall between the pixels of the enlarged image, and off the
strides of the network. A tile that were enlarged by itself would be sampled at other places than the whole image, by
fractions of a pixel that decide matches at IoU 0.9. So a frame is cut from the enlarged image, which is never made:
whole network pixels, from a multiple of the strides on, sampled from the pixels of the image around them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from nucleus.inference.tiling import Region, Tile, TileGrid

STRIDE = 64  # of the coarsest features, in network pixels


@dataclass(frozen=True)
class Frame:
    """A part of an enlarged image, for one tile.

    Attributes:
        tile: read region of the tile, in pixels of the image; nuclei are given in it.
        seen: in network pixels, of the enlarged image.
        read: pixels of the image from which `seen` is sampled.
        scale: network pixels per pixel of the image, along x and y.
    """

    tile: Region
    seen: Region
    read: Region
    scale: tuple[float, float]

    def sample(self, pixels: np.ndarray) -> np.ndarray:
        """The part of the enlarged image.

        Args:
            pixels: uint8 (h, w, 3) or (h, w), those of `read`.

        Returns:
            uint8 of the size of `seen`, bilinear, as OpenCV's resize of the whole image would give it.
        """
        if self.scale == (1.0, 1.0):
            return pixels
        (x, y), (left, top) = self.scale, (self.seen.left, self.seen.top)
        # Centres of pixels lie at half coordinates, in the image and in the enlarged one.
        matrix = np.array(
            [
                [1 / x, 0, (left + 0.5) / x - 0.5 - self.read.left],
                [0, 1 / y, (top + 0.5) / y - 0.5 - self.read.top],
            ]
        )
        return cv2.warpAffine(
            pixels,
            matrix,
            (self.seen.width, self.seen.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def to_tile(self) -> tuple[float, float, float, float]:
        """How a position in the frame becomes one in the tile: factor of x and of y, then what is added to x and y."""
        (x, y) = self.scale
        return 1 / x, 1 / y, self.seen.left / x - self.tile.left, self.seen.top / y - self.tile.top


def frame_of(grid: TileGrid, tile: Tile, scale: float) -> Frame:
    """Say what the network sees of a tile.

    Args:
        grid: of the image.
        tile: one of its tiles.
        scale: factor by which the image is enlarged.

    Returns:
        The frame. `read` exceeds the read region of the tile by what the nearest stride and the sampling need.
    """
    across = _span(tile.read.left, tile.read.right, grid.width, scale)
    down = _span(tile.read.top, tile.read.bottom, grid.height, scale)
    return Frame(
        tile.read,
        Region(down.seen[0], across.seen[0], down.seen[1], across.seen[1]),
        Region(down.read[0], across.read[0], down.read[1], across.read[1]),
        (across.factor, down.factor),
    )


@dataclass(frozen=True)
class _Span:
    """A frame along one side of the image."""

    seen: tuple[int, int]
    read: tuple[int, int]
    factor: float


def _span(start: int, stop: int, length: int, scale: float) -> _Span:
    if scale == 1.0:
        return _Span((start, stop), (start, stop), 1.0)
    enlarged = max(1, round(length * scale))
    factor = enlarged / length
    first = STRIDE * round(start * factor / STRIDE)
    last = enlarged if stop == length else min(enlarged, STRIDE * round(stop * factor / STRIDE))
    low = max(0, math.floor((first + 0.5) / factor - 0.5))
    high = min(length, math.ceil((last - 0.5) / factor - 0.5) + 1)
    return _Span((first, last), (low, high), factor)
