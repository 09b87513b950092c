"""Anchors fitted to the boxes of a data set, and how many of its boxes they reach.

A box is reached at IoU t where some anchor has that IoU with it. Anchors stand on the grid of their pyramid level, one
centre every `stride` pixels, so that a large anchor on a coarse grid misses small boxes by its place, not its size;
everything here therefore counts with places, not with sizes alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleus.data.geometry import base_scale
from nucleus.errors import InputError
from nucleus.formats.coco import rle_from_segmentation
from nucleus.masks.rle import coco_box

PADDING = 32  # pixels: images are padded to a multiple of this before they enter the pyramid
SHORT_EDGE = 512  # pixels, INPUT.UPSCALE_SHORT_EDGE where no config says otherwise
THRESHOLDS = (0.5, 0.7)
ROUNDS = 50  # of k-means; it settles in fewer
MOST_BOXES = 20_000  # are fitted to; of more, so many at even distances in the file's order


@dataclass(frozen=True)
class Boxes:
    """Boxes as the network sees them at a test.

    Attributes:
        xyxy: float (N, 4), pixels after enlarging.
        image_sizes: float (N, 2), width and height of each box's image, pixels after enlarging.
    """

    xyxy: np.ndarray
    image_sizes: np.ndarray


@dataclass(frozen=True)
class Anchors:
    """Anchors of a feature pyramid, as MODEL.ANCHOR_GENERATOR describes them.

    Attributes:
        strides: pixels between anchors, a level each, the finest first.
        sizes: square roots of the areas in pixels, a list for each level.
        ratios: height / width, the same on all levels.
    """

    strides: Sequence[int] = (4, 8, 16, 32, 64)
    sizes: Sequence[Sequence[float]] = ((8,), (16,), (32,), (64,), (128,))
    ratios: Sequence[float] = (0.5, 1.0, 2.0)

    def as_yaml(self) -> str:
        """The lines for a config file."""
        sizes = ", ".join(f"[{', '.join(f'{size:g}' for size in level)}]" for level in self.sizes)
        ratios = ", ".join(f"{ratio:g}" for ratio in self.ratios)
        return f"MODEL:\n  ANCHOR_GENERATOR:\n    SIZES: [{sizes}]\n    ASPECT_RATIOS: [[{ratios}]]"


def anchors_of_config(
    features: Sequence[str], sizes: Sequence[Sequence[float]], ratios: Sequence[Sequence[float]]
) -> Anchors:
    """Read anchors as a config has them.

    Args:
        features: MODEL.RPN.IN_FEATURES, such as p2 or res4: the number is the stride's logarithm to base 2.
        sizes: MODEL.ANCHOR_GENERATOR.SIZES; one list stands for all levels.
        ratios: MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS, likewise.

    Raises:
        InputError: other ratios on other levels, which are not fitted here.
    """
    if any(list(level) != list(ratios[0]) for level in ratios):
        raise InputError("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", expected="the same on all levels", found=f"{ratios}")
    strides = [2 ** int(re.sub(r"\D", "", name)) for name in features]
    return Anchors(strides, list(sizes) * (len(strides) if len(sizes) == 1 else 1), list(ratios[0]))


def boxes_of(coco: Mapping[str, Any], short_edge: int) -> Boxes:
    """Read the boxes of a COCO data set at the scale of the network.

    Args:
        coco: the content of a COCO file; crowd regions are left out.
        short_edge: INPUT.UPSCALE_SHORT_EDGE in pixels, see `nucleus.data.geometry.base_scale`.

    Raises:
        InputError: the data set has no box.
    """
    images = {image["id"]: image for image in coco["images"]}
    boxes, sizes = [], []
    for one in coco["annotations"]:
        image = images[one["image_id"]]
        height, width = image["height"], image["width"]
        if one.get("iscrowd"):
            continue
        x, y, w, h = one.get("bbox") or coco_box(rle_from_segmentation(one["segmentation"], height, width))
        if w <= 0 or h <= 0:
            continue
        scale = base_scale(height, width, short_edge)
        boxes.append((x * scale, y * scale, (x + w) * scale, (y + h) * scale))
        sizes.append((width * scale, height * scale))
    if not boxes:
        raise InputError("--dataset", expected="nuclei to fit anchors to", found="none")
    return Boxes(np.array(boxes), np.array(sizes))


def best_ious(boxes: Boxes, anchors: Anchors) -> np.ndarray:
    """IoU of each box with the best of all anchors of its image.

    The best place for an anchor of a given shape is the grid centre nearest to the box's, since the overlap falls with
    the distance along either axis. Centres are at multiples of the stride, from 0 (Detectron2's
    ANCHOR_GENERATOR.OFFSET 0).

    Returns:
        float (N,), in [0, 1].
    """
    return _ious_by_level(boxes, anchors).max(axis=1)


def recall(boxes: Boxes, anchors: Anchors, threshold: float) -> float:
    """Share of the boxes that have an anchor of at least this IoU, in [0, 1]."""
    return float((best_ious(boxes, anchors) >= threshold).mean())


def fit_anchors(boxes: Boxes, start: Anchors, turns: bool = True) -> Anchors:
    """Fit one size a level and as many ratios as there were.

    Source: Redmon and Farhadi 2017, "YOLO9000", section 2, "Dimension Clusters": k-means with the distance 1 - IoU.
    There all anchors share one grid; here a box goes to the level whose anchor, at its place on its own grid, is
    best, and a level's new size is the mean of its boxes' sizes. The round with the best mean IoU wins.

    Args:
        boxes: to fit to.
        start: gives strides, the number of ratios, and the sizes to begin from.
        turns: training turns images by quarters, so that every ratio comes as often as its inverse.

    Returns:
        Sizes in whole pixels, increasing, and ratios of two decimals. Never of a lower mean IoU with the boxes than
        `start`, which comes back if nothing is better.
    """
    step = -(-len(boxes.xyxy) // MOST_BOXES)
    boxes = Boxes(boxes.xyxy[::step], boxes.image_sizes[::step])
    shapes = boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]
    lengths = np.sqrt(shapes.prod(axis=1))
    ratios = _fit_ratios(shapes, len(start.ratios), turns)
    from_quantiles = np.quantile(lengths, (np.arange(len(start.strides)) + 0.5) / len(start.strides))
    from_start = np.array([np.mean(level) for level in start.sizes])
    candidates = [start]
    for sizes in (from_quantiles, from_start):
        candidates += _refine_sizes(boxes, lengths, Anchors(start.strides, sizes[:, None].tolist(), ratios))
    return max(candidates, key=lambda anchors: float(best_ious(boxes, anchors).mean()))


def compare_anchors(boxes: Boxes, start: Anchors, turns: bool = True) -> str:
    """Fit anchors and say what they gain, as text: a table of recall before and after, and the lines for a config."""
    fitted = fit_anchors(boxes, start, turns)
    lines = [f"# {len(boxes.xyxy)} boxes          now  fitted"]
    for threshold in THRESHOLDS:
        shares = [recall(boxes, anchors, threshold) for anchors in (start, fitted)]
        lines.append(f"# reached at IoU {threshold}  {shares[0]:.3f}  {shares[1]:.3f}")
    means = [float(best_ious(boxes, anchors).mean()) for anchors in (start, fitted)]
    lines.append(f"# mean best IoU       {means[0]:.3f}  {means[1]:.3f}")
    return "\n".join([*lines, fitted.as_yaml()])


def iou_k_means(shapes: np.ndarray, count: int) -> np.ndarray:
    """Cluster widths and heights with the distance 1 - IoU of boxes that share a centre.

    Source: Redmon and Farhadi 2017, "YOLO9000", section 2. The start is even quantiles of height / width, so that
    the result is the same every time.

    Args:
        shapes: float (N, 2), widths and heights.
        count: of clusters.

    Returns:
        float (count, 2), mean width and height of each cluster, by increasing height / width.
    """
    order = np.argsort(shapes[:, 1] / shapes[:, 0], kind="stable")
    centres = shapes[order[((np.arange(count) + 0.5) / count * len(shapes)).astype(int)]]
    for _ in range(ROUNDS):
        nearest = _iou_of_shapes(shapes, centres).argmax(axis=1)
        moved = np.array(
            [shapes[nearest == one].mean(axis=0) if (nearest == one).any() else centres[one] for one in range(count)]
        )
        if np.allclose(moved, centres):
            break
        centres = moved
    return centres[np.argsort(centres[:, 1] / centres[:, 0], kind="stable")]


def _iou_of_shapes(shapes: np.ndarray, centres: np.ndarray) -> np.ndarray:
    overlap = np.minimum(shapes[:, None], centres[None]).prod(axis=2)
    return overlap / (shapes.prod(axis=1)[:, None] + centres.prod(axis=1)[None] - overlap)


def _fit_ratios(shapes: np.ndarray, count: int, turns: bool) -> list[float]:
    ratio = shapes[:, 1] / shapes[:, 0]
    if turns:
        ratio = np.concatenate([ratio, 1 / ratio])
    centres = iou_k_means(np.stack([ratio**-0.5, ratio**0.5], axis=1), count)  # boxes of area 1
    return np.round(centres[:, 1] / centres[:, 0], 2).tolist()


def _refine_sizes(boxes: Boxes, lengths: np.ndarray, anchors: Anchors) -> list[Anchors]:
    """All rounds of k-means over the levels, in whole pixels."""
    rounds = []
    sizes = np.array(anchors.sizes)[:, 0]
    for _ in range(ROUNDS):
        sizes = np.sort(np.rint(sizes))
        anchors = Anchors(anchors.strides, sizes[:, None].tolist(), anchors.ratios)
        if anchors in rounds:
            break
        rounds.append(anchors)
        level = _ious_by_level(boxes, anchors).argmax(axis=1)
        sizes = np.array([lengths[level == n].mean() if (level == n).any() else size for n, size in enumerate(sizes)])
    return rounds


def _ious_by_level(boxes: Boxes, anchors: Anchors) -> np.ndarray:
    """float (N, levels): IoU with the best anchor of each level."""
    first, last = boxes.xyxy[:, :2], boxes.xyxy[:, 2:]
    area = (last - first).prod(axis=1)
    best = np.zeros((len(area), len(anchors.strides)))
    padded = np.ceil(boxes.image_sizes / PADDING) * PADDING
    for level, (stride, sizes) in enumerate(zip(anchors.strides, anchors.sizes, strict=True)):
        centre = np.clip(np.rint((first + last) / 2 / stride), 0, (padded - 1) // stride) * stride
        for size in sizes:
            for ratio in anchors.ratios:
                half = np.array([size / ratio**0.5, size * ratio**0.5]) / 2
                overlap = np.clip(np.minimum(last, centre + half) - np.maximum(first, centre - half), 0, None)
                shared = overlap.prod(axis=1)
                best[:, level] = np.maximum(best[:, level], shared / (area + size**2 - shared))
    return best
