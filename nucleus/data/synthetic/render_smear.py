"""Grey-scale smears: wide, thin cells that overlap on a bright slide, each with one small dark nucleus."""

from __future__ import annotations

import cv2
import numpy as np

from nucleus.data.synthetic.placement import Population, place_nuclei
from nucleus.data.synthetic.shapes import nucleus_outline, rasterise
from nucleus.data.synthetic.textures import smooth_noise
from nucleus.masks.contours import outline_pixels

CELL = 58.0  # median radius of a cell in pixels
CORNERS = (2, 4, 5, 6)  # every so many points of an outline is a corner: flat cells have straight sides
GLASS = 228.0  # level of the empty slide


def place_smear(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Lay out a smear: cells in loose groups, a nucleus in each, and clusters of small round white blood cells.

    Args:
        rng: source of randomness.
        shape: (H, W) in pixels.

    Returns:
        The nuclei, int32 (H, W), 0 background, and the density of the cells' bodies, float32 (H, W).
    """
    cells = round(shape[0] * shape[1] / 1024**2 * rng.uniform(35, 70))
    cytoplasm = np.zeros(shape, dtype=np.float32)
    centres = np.zeros(shape, dtype=np.float32)
    groups = smooth_noise(rng, shape, 180.0)
    for _ in range(max(1, cells)):
        x, y = _in_a_group(rng, groups)
        radius = CELL * float(np.exp(rng.normal(0, 0.25)))
        outline = nucleus_outline(rng, radius, 1 + float(rng.gamma(2, 0.12)), 0.15, float(rng.uniform(0, np.pi)))
        outline = outline[:: int(rng.choice(CORNERS))]
        _add_cell(rng, cytoplasm, outline + np.array([x, y]))
        cv2.circle(centres, (round(x), round(y)), round(radius / 4), 1.0, -1)
    large = place_nuclei(rng, shape, max(1, round(cells * 1.1)), Population(8.5, 0.15, 1.25, 0.07, 0.0, 0.1), centres)
    return _add_leukocytes(rng, large, round(cells * rng.uniform(0.2, 1.0))), cytoplasm


def _in_a_group(rng: np.random.Generator, groups: np.ndarray) -> tuple[float, float]:
    """A position, mostly where the groups are."""
    for _ in range(20):
        y, x = int(rng.integers(groups.shape[0])), int(rng.integers(groups.shape[1]))
        if groups[y, x] > rng.normal(0.1, 0.7):
            break
    return float(x), float(y)


def _add_cell(rng: np.random.Generator, cytoplasm: np.ndarray, outline: np.ndarray) -> None:
    """Add the density of one cell: thin, with a denser rim and folds."""
    mask, window = rasterise(outline, cytoplasm.shape)
    if not mask.any():
        return
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    density = float(np.exp(rng.normal(np.log(0.13), 0.5)))
    folds = 1 + 0.25 * smooth_noise(rng, mask.shape, 14.0) + 0.12 * smooth_noise(rng, mask.shape, 3.0)
    cytoplasm[window] += density * mask * folds * (1 + 0.5 * np.exp(-depth / 1.5))


def _add_leukocytes(rng: np.random.Generator, labels: np.ndarray, count: int) -> np.ndarray:
    """Add clusters of small round nuclei on free pixels."""
    shape = labels.shape
    clusters = smooth_noise(rng, shape, 60.0)
    small = place_nuclei(
        rng, shape, count, Population(4.2, 0.15, 1.1, 0.05, 0.7, 0.2), np.maximum(clusters - 1.5, 0) ** 2
    )
    taken = np.unique(small[labels != 0])
    small[np.isin(small, taken)] = 0  # keep whole ones
    return np.where(small > 0, small + labels.max(initial=0), labels).astype(np.int32)


def render_smear(rng: np.random.Generator, labels: np.ndarray, cytoplasm: np.ndarray) -> np.ndarray:
    """Take a picture of a smear.

    Args:
        rng: source of randomness.
        labels: int (H, W), 0 background.
        cytoplasm: density of the cells' bodies, float (H, W).

    Returns:
        uint8 (H, W, 3), the three channels equal.
    """
    shape = labels.shape
    levels = np.exp(rng.normal(np.log(0.62), 0.2, int(labels.max(initial=0)) + 1)).astype(np.float32)
    levels[0] = 0
    inside = (labels != 0) & ~outline_pixels(labels)
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
    nuclei = levels[labels] * (0.85 + 0.15 * np.minimum(depth / 2, 1)) * (1 + 0.15 * smooth_noise(rng, shape, 2.5))
    density = cv2.GaussianBlur(nuclei + np.minimum(cytoplasm, 0.75), (0, 0), 0.8)
    light = GLASS * (1 + 0.006 * smooth_noise(rng, shape, max(shape) / 3)) * np.exp(-density)
    specks = smooth_noise(rng, shape, 4.0)
    light -= np.maximum(specks - 3.2, 0) * 40
    light += rng.normal(0, 1.2, shape)
    grey = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
