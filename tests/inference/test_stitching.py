from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from nucleus.inference.stitching import Stitcher
from nucleus.inference.tiling import TileGrid, plan_tiles
from nucleus.masks.box_masks import BoxMasks


def box_masks(labels: np.ndarray) -> BoxMasks:
    """The nuclei of a label image."""
    found = [(label, box) for label, box in enumerate(ndimage.find_objects(labels), start=1) if box is not None]
    boxes = np.array([[x.start, y.start, x.stop, y.stop] for _, (y, x) in found]).reshape(-1, 4)
    return BoxMasks(boxes, [labels[box] == label for label, box in found], *labels.shape)


def stitch(grid: TileGrid, labels: np.ndarray) -> Stitcher:
    """Cut a label image into tiles, as if each had been predicted perfectly, and put it together again."""
    stitcher = Stitcher(grid, np.zeros_like(labels))
    for tile in grid:
        read = tile.read
        masks = box_masks(labels[read.top : read.bottom, read.left : read.right])
        stitcher.add(tile, masks, np.linspace(1, 0.5, len(masks)))
    return stitcher


def disks(height: int, width: int, count: int, radius: int, rng: np.random.Generator) -> np.ndarray:
    """A label image of touching and separate disks."""
    labels = np.zeros((height, width), dtype=np.int32)
    rows, columns = np.indices(labels.shape)
    for label in range(1, count + 1):
        y, x = rng.integers(height), rng.integers(width)
        labels[((rows - y) ** 2 + (columns - x) ** 2 <= radius**2) & (labels == 0)] = label
    return relabel_sequential(labels)[0].astype(np.int32)


def test_nucleus_across_a_corner_of_four_tiles_is_painted_once_and_whole() -> None:
    labels = np.zeros((40, 40), dtype=np.int32)
    labels[17:24, 17:24] = 1  # its centre is 20.5, the seams are at 20
    stitcher = stitch(plan_tiles(40, 40, tile=36, margin=8), labels)
    assert np.array_equal(stitcher.labels, labels)
    assert stitcher.scores == [1.0]


@pytest.mark.parametrize("seed", range(5))
def test_truth_cut_into_tiles_comes_together_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = disks(150, 210, 120, radius=7, rng=rng)
    grid = plan_tiles(*labels.shape, tile=96, margin=20)
    assert len(grid) > 4
    stitcher = stitch(grid, labels)
    pairs = np.unique(np.stack([labels.ravel(), stitcher.labels.ravel()]), axis=1)
    assert pairs.shape[1] == labels.max() + 1  # each nucleus has one number
    assert len(stitcher.scores) == labels.max() == stitcher.labels.max()
    assert stitcher.cut == 0


def test_tiles_that_disagree_about_the_centre_lose_nothing_and_double_nothing() -> None:
    grid = plan_tiles(30, 60, tile=40, margin=8)  # the seam is at 24
    left, right = grid.tiles[:2]
    for shift in (-1, 1):  # each tile gives the nucleus to the other one, then each to itself
        stitcher = Stitcher(grid, np.zeros((30, 60), dtype=np.int32))
        mask = np.ones((6, 6), dtype=bool)
        for tile, start in ((left, 21 + shift), (right, 21 - shift)):
            begin = start - tile.read.left
            offered = BoxMasks(np.array([[begin, 4, begin + 6, 10]]), [mask], tile.read.height, tile.read.width)
            stitcher.add(tile, offered, np.array([0.9]))
        assert len(stitcher.scores) == 1


def test_nucleus_larger_than_the_margin_is_counted() -> None:
    labels = np.zeros((20, 60), dtype=np.int32)
    labels[5:15, 2:58] = 1
    assert stitch(plan_tiles(20, 60, tile=40, margin=8), labels).cut >= 1


def test_tiles_come_in_order() -> None:
    grid = plan_tiles(20, 60, tile=40, margin=8)
    empty = BoxMasks(np.zeros((0, 4)), [], 20, 40)
    with pytest.raises(ValueError, match="expected tile 0"):
        Stitcher(grid, np.zeros((20, 60), dtype=np.int32)).add(grid.tiles[1], empty, np.zeros(0))
