"""The work of a run on Dask in parts that travel to the workers, and what comes back: names and numbers, no pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from nucleus.errors import InputError
from nucleus.inference.image_files import ImageFile
from nucleus.inference.output_folder import Done, State
from nucleus.inference.tile_store import TileStore


@dataclass(frozen=True)
class Large:
    """An image that is worked on tile by tile.

    Attributes:
        image: the file.
        file: its state, which must stay.
        store: of the tiles.
        tiles: how many.
        batches: how many, of tiles shown to the network at once.
    """

    image: ImageFile
    file: State
    store: TileStore
    tiles: int
    batches: int


@dataclass(frozen=True)
class Images:
    """Work: some images, each up to its end if it is small."""

    images: tuple[ImageFile, ...]


@dataclass(frozen=True)
class Tiles:
    """Work: the batches of tiles of a large image from `start` to before `stop`."""

    large: Large
    start: int
    stop: int


@dataclass(frozen=True)
class Stitch:
    """Work: a large image of which all tiles are there."""

    large: Large


Work: TypeAlias = "Images | Tiles | Stitch"


@dataclass(frozen=True)
class Found:
    """The outcome of one image, and whether it was there already."""

    outcome: Done | Large | InputError
    before: bool = False


@dataclass(frozen=True)
class Result:
    """What a task gives.

    Attributes:
        seconds: that it took, without the making ready of the process.
        found: of each image, or of the one that was stitched or whose tiles failed.
        tiles: how many are done.
    """

    seconds: float
    found: tuple[Found, ...] = ()
    tiles: int = 0
