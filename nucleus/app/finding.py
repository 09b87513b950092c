"""From a picture to its nuclei at the lowest threshold of the page, of which those at any higher one are the first n.

Detections become nuclei one by one from the highest score down, and none changes what a better one got
(`nucleus.masks.resolve_overlaps`). So the nuclei at threshold t are exactly those at a lower one with a score of t or
more: the page can move the threshold by showing more or fewer of one list.

Large images are seen tile by tile, as `nucleus.inference.segment` does it. What the tiles offer is resolved in the same
way, by score over the whole image; `nucleus predict` takes the tiles in order. So the two can differ in nuclei on a
seam.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from nucleus.app.reading import Picture
from nucleus.inference.prediction import Prediction
from nucleus.masks.box_masks import BoxMasks

if TYPE_CHECKING:
    from nucleus.inference.predictor import Model
    from nucleus.inference.tiling import TileGrid

LOWEST = 0.05  # score; the lowest threshold of the page


def find_nuclei(picture: Picture, model: Model, progress: Callable[[int, int], None]) -> Prediction:
    """Run the network.

    Args:
        picture: of any size that is in memory.
        model: finds nuclei.
        progress: called with the number of tiles done and that of all; what it raises ends the run.

    Returns:
        The nuclei at threshold LOWEST.
    """
    from nucleus.inference.segment import plans  # it imports torch

    for grid in plans(picture.source, model, None):
        found, full = _look(picture, model, grid, progress)
        if not full:
            break
    return found


def _look(
    picture: Picture, model: Model, grid: TileGrid, progress: Callable[[int, int], None]
) -> tuple[Prediction, bool]:
    """The nuclei that one grid of tiles gives, and whether some may be missing: see `nucleus.inference.segment`."""
    from nucleus.inference.frames import frame_of
    from nucleus.inference.segment import is_blank, is_full
    from nucleus.inference.stitching import offered

    progress(0, len(grid))
    if len(grid) == 1:
        prediction = model.predict(picture.rgb)
        return prediction.at(LOWEST), is_full(prediction, model)
    full = False
    scale = model.scale_of(grid.height, grid.width)
    boxes, pixels, scores = [np.zeros((0, 4), dtype=np.int64)], [np.zeros(0, dtype=bool)], [np.zeros(0, np.float32)]
    for tile in grid:
        frame = frame_of(grid, tile, scale)
        view = picture.rgb[frame.read.top : frame.read.bottom, frame.read.left : frame.read.right]
        if not is_blank(view):
            found = model.predict_batch([view], frames=[frame])[0].at(LOWEST)
            full = full or is_full(found, model)
            chosen = offered(tile, found.masks, grid.margin)
            masks = found.masks[chosen]
            boxes.append(masks.boxes + np.tile([tile.read.left, tile.read.top], 2))
            pixels.append(masks.pixels)
            scores.append(found.scores[chosen])
        progress(tile.number + 1, len(grid))
    every = BoxMasks(np.concatenate(boxes), np.concatenate(pixels), grid.height, grid.width)
    return Prediction(every, np.concatenate(scores), LOWEST), full
