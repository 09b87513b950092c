"""One image of any size to its nuclei: in one piece where that is small enough, else tile by tile.

Tiles are cut where the strides of the network fall alike in all of them, enlarged as the whole image would be (see
`frames`), and scaled to 8 bits by its percentiles, so that a nucleus inside a tile looks to the network as it does in
the whole image.
Only the tiles under way are in memory, beside the label image, which is on disk for an image of more than LARGE pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from nucleus.errors import InputError
from nucleus.formats.disk_array import DiskArray
from nucleus.formats.image_source import ImageSource
from nucleus.inference.frames import STRIDE, frame_of
from nucleus.inference.prediction import Prediction
from nucleus.inference.predictor import Model
from nucleus.inference.stitching import Stitcher, offered
from nucleus.inference.tile_store import TileNuclei, TileStore
from nucleus.inference.tiling import SMALLEST_TILE, Tile, TileGrid, plan_tiles, smallest_tile
from nucleus.masks.box_masks import BoxMasks

# These two are for images that no --scale enlarges; of one that is, so many times fewer pixels.
WHOLE = 1536  # pixels; an image with no longer side is not cut, unless a tile size is given
TILE = 1024  # pixels, side of a read region
MARGIN = 128  # pixels, or a quarter of the tile if that is less: more than a large nucleus
MOST_SEEN = 1 << 25  # pixels of a tile that is enlarged, as the network sees it; a tile of 4096 x 4096 fits twice
LARGE = 1 << 26  # pixels; the label image of a larger image is a file
BLANK_BLOCK, BLANK_RANGE = 4, 6  # pixels, grey levels
LABELS = "labels.raw"


@dataclass(frozen=True, eq=False)
class Segmented:
    """The nuclei of one image.

    Attributes:
        labels: int32 (H, W), 0 background, 1..n nuclei; for a large image a DiskArray, which is there as long as the
            store is.
        scores: float64 (n,), of label 1, 2, ..., in [0, 1].
        tiles: how many; 1 for an image in one piece.
        blank: how many tiles were blank and not shown to the network.
        cut: how many nuclei end at the edge of what a tile shows: larger than the margin.
        full: how many tiles gave as many nuclei as the model gives detections at the most: some may be missing.
    """

    labels: np.ndarray | DiskArray
    scores: np.ndarray
    tiles: int = 1
    blank: int = 0
    cut: int = 0
    full: int = 0


def plan(source: ImageSource, model: Model, tile: int | None) -> TileGrid:
    """Cut an image into tiles, or not.

    Args:
        source: the image.
        model: that is to see it.
        tile: side of a tile in pixels; None to decide by the size of the image.

    Returns:
        The grid; one tile for an image of up to 1536 x 1536 pixels (of one that a model with a scale enlarges, so many
        times fewer) where nobody gave a size.

    Raises:
        InputError: the tile is smaller than 256 pixels, of the image or of what the network sees; or the network would
            see so large a piece of an enlarged image that memory would not hold it.
    """
    height, width = source.shape[:2]
    if tile is None:
        tile = _fitting_tile(height, width, model)
    if tile < SMALLEST_TILE:
        raise InputError("tile", expected=f"{SMALLEST_TILE} pixels or more", found=str(tile))
    scale = model.scale_of(height, width)
    if scale > 1 and min(height, tile) * min(width, tile) * scale**2 > MOST_SEEN:
        raise InputError(source.name, expected=f"at most {MOST_SEEN:,} pixels as the network sees it",
                         found=f"{min(width, tile)} x {min(height, tile)}, enlarged {scale:.3g} times",
                         remedy="Set a smaller --scale or --tile.")  # fmt: skip
    if max(height, width) <= tile:
        return plan_tiles(height, width, tile=tile, margin=0)
    if tile < (least := smallest_tile(scale)):
        raise InputError("tile", expected=f"{least} pixels or more of an image scaled by {scale:g}", found=str(tile))
    step = _aligned(scale, tile // 4)
    margin = min(math.ceil(MARGIN / min(1.0, scale) / step), tile // 4 // step) * step
    return plan_tiles(height, width, tile=tile, margin=margin, multiple=step)


def plans(source: ImageSource, model: Model, tile: int | None) -> Iterator[TileGrid]:
    """The grids to look at an image with: a next one is for where the model's most detections were too few.

    Args:
        source, model, tile: as of `plan`.

    Yields:
        What `plan` gives; if that is the image in one piece and nobody gave a size, then tiles of half the side each
        time. A large image is not looked at again as a whole for one tile.

    Raises:
        InputError: see `plan`.
    """
    grid = plan(source, model, tile)
    yield grid
    if tile is None and len(grid) == 1:
        height, width = source.shape[:2]
        finer = min(_fitting_tile(height, width, model), max(height, width)) // 2
        while finer >= smallest_tile(model.scale_of(height, width)):
            yield plan(source, model, finer)
            finer //= 2


def _fitting_tile(height: int, width: int, model: Model) -> int:
    enlarged = max(1.0, model.scale or 1.0)
    whole, part = (max(SMALLEST_TILE, int(side / enlarged)) for side in (WHOLE, TILE))
    return whole if max(height, width) <= whole else part


def is_full(prediction: Prediction, model: Model) -> bool:
    """Whether the model gave as many detections as it can, all of which are nuclei by its score threshold."""
    scores = prediction.detection_scores
    return len(scores) >= model.max_detections and bool(scores.min(initial=1.0) >= model.threshold)


def segment(
    source: ImageSource,
    model: Model,
    grid: TileGrid,
    *,
    batch: int = 1,
    store: TileStore | None = None,
    progress: Callable[[int], None] = lambda tiles: None,
) -> Segmented:
    """Find the nuclei of one image.

    Args:
        source: the image.
        model: finds them.
        grid: as `plan` gives it.
        batch: tiles shown to the network at once; it changes time, memory, and the rounding of the network's numbers.
        store: keeps what each tile gave, for a later run, and the label image of a large image; None for neither.
        progress: called with a number of tiles whenever these are done.

    Returns:
        The nuclei; the same however often the run was interrupted.

    Raises:
        InputError: the image cannot be decoded.
        OSError: the disk is full or not writable.
    """
    height, width = source.shape[:2]
    stitcher = Stitcher(grid, _empty_labels(height, width, store))
    blank = full = 0
    for tiles in in_batches(grid, batch):
        for tile, nuclei in zip(tiles, nuclei_of_tiles(source, model, grid, tiles, store), strict=True):
            stitcher.add(tile, nuclei.masks, nuclei.scores)
            blank += nuclei.blank
            full += nuclei.full
        progress(len(tiles))
    return Segmented(stitcher.labels, np.array(stitcher.scores), len(grid), blank, stitcher.cut, full)


def nuclei_of_tiles(
    source: ImageSource, model: Model, grid: TileGrid, tiles: Sequence[Tile], store: TileStore | None
) -> list[TileNuclei]:
    """What each tile of a batch gives: kept from an earlier run, nothing for a blank one, else predicted.

    Args:
        source: the image.
        model: finds them.
        grid: as `plan` gives it.
        tiles: one of its batches, as `in_batches` gives them; what a tile gives depends on nothing else.
        store: keeps it; None for nowhere.

    Raises:
        InputError: the image cannot be decoded.
        OSError: the disk is full or not writable.
    """
    kept = [store.load(tile) for tile in tiles] if store else []
    if kept and all(kept):
        return [one for one in kept if one is not None]
    # All of a batch again where one is missing: the same batch as ever, so that its numbers are the same to the last
    # digit.
    found: dict[int, TileNuclei] = {}
    seen, pixels, frames = [], [], []
    scale = model.scale_of(grid.height, grid.width)
    for tile in tiles:
        frame = frame_of(grid, tile, scale)
        read = frame.read
        view = source.read_rgb8(read.top, read.left, read.bottom, read.right)
        if len(grid) > 1 and is_blank(view):
            nothing = BoxMasks(np.zeros((0, 4)), [], tile.read.height, tile.read.width)
            found[tile.number] = TileNuclei(nothing, np.zeros(0), blank=True)
        else:
            seen.append(tile)
            pixels.append(view)
            frames.append(frame)
    whole = len(grid) == 1  # an image in one piece is enlarged as in training
    for tile, prediction in zip(seen, model.predict_batch(pixels, frames=None if whole else frames), strict=True):
        chosen = offered(tile, prediction.masks, grid.margin)
        full = is_full(prediction, model)
        found[tile.number] = TileNuclei(prediction.masks[chosen], prediction.scores[chosen], full)
    if store:
        for tile in tiles:
            store.save(tile, found[tile.number])
    return [found[tile.number] for tile in tiles]


def is_blank(view: np.ndarray) -> bool:
    """Tell whether a view shows nothing: no channel differs by more than 6 grey levels between any two blocks.

    Args:
        view: uint8 (h, w, 3).

    Returns:
        The comparison is made between means of about 4 x 4 pixels, in which the noise of a camera is small and a
        nucleus of 5 pixels still shows.
    """
    height, width = view.shape[:2]
    size = (max(1, width // BLANK_BLOCK), max(1, height // BLANK_BLOCK))
    small = cv2.resize(view, size, interpolation=cv2.INTER_AREA)
    return bool((small.max(axis=(0, 1)).astype(int) - small.min(axis=(0, 1)) <= BLANK_RANGE).all())


def _aligned(scale: float, most: int) -> int:
    """Pixels of the image, up to `most`, that come closest to a multiple of the network's stride once enlarged; the
    fewest of equally good ones. They meet it exactly for the scale 1 and most others."""
    fewest = -(-STRIDE // (2 * scale))  # that round to one stride or more

    def miss(step: int) -> float:
        return round(abs(step * scale - round(step * scale / STRIDE) * STRIDE), 6)

    return min(range(max(1, int(fewest)), most + 1), key=miss)


def in_batches(grid: TileGrid, size: int) -> Iterator[list[Tile]]:
    """Cut a grid into batches: neighbouring tiles of one size, in order, that many at a time."""
    batch: list[Tile] = []
    for tile in grid:
        fits = not batch or (tile.read.height, tile.read.width) == (batch[0].read.height, batch[0].read.width)
        if not fits or len(batch) == size:
            yield batch
            batch = []
        batch.append(tile)
    yield batch


def _empty_labels(height: int, width: int, store: TileStore | None) -> np.ndarray | DiskArray:
    if store is None or height * width <= LARGE:
        return np.zeros((height, width), dtype=np.int32)
    return DiskArray(store.folder / LABELS, np.int32, (height, width), "w+")
