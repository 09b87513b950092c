"""Where the nuclei of a field lie: along a density, alone or in clumps, touching but never overlapping.

The label image made here is the truth; the renderers only colour it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from nucleus.data.synthetic.shapes import nucleus_outline, rasterise

SMALLEST = 21  # pixels; no mask of BBBC038 is smaller
ATTEMPTS = 12  # positions tried for a nucleus before it is given up
GRID = 4  # pixels between the points at which a density is sampled


@dataclass(frozen=True)
class Population:
    """How the nuclei of one field look and lie.

    Attributes:
        radius: median radius in pixels.
        spread: standard deviation of the logarithm of the radius.
        elongation: mean ratio of the long to the short axis, at least 1.
        irregularity: relative deviation from an ellipse, 0 to 0.3.
        clumping: share of nuclei put beside an earlier one, 0 to 1.
        overlap: share of its area that a nucleus may lose to the earlier ones it is pushed against, 0 to 0.5.
        aligned: how far the long axes follow the field's direction, 0 (any) to 1 (all).
    """

    radius: float
    spread: float = 0.15
    elongation: float = 1.3
    irregularity: float = 0.08
    clumping: float = 0.2
    overlap: float = 0.15
    aligned: float = 0.0


def place_nuclei(
    rng: np.random.Generator,
    shape: tuple[int, int],
    count: int,
    population: Population,
    density: np.ndarray | None = None,
    direction: np.ndarray | None = None,
) -> np.ndarray:
    """Draw nuclei into an empty field.

    Each nucleus tries a few positions, either drawn from the density or beside an earlier nucleus. Where it would lie
    on earlier ones it loses the shared pixels, and so touches them, unless that is more than `population.overlap` of
    it: then it tries the next position.

    Args:
        rng: source of randomness.
        shape: (H, W) in pixels.
        count: nuclei wanted; a crowded field gets fewer.
        population: their look and arrangement.
        density: float (H, W), not negative: relative frequency of centres; None for the same everywhere.
        direction: float (H, W), radians: local direction of aligned nuclei; None for one direction everywhere.

    Returns:
        int32 (H, W), 0 background, 1..n; every nucleus is one 4-connected piece of at least SMALLEST pixels.
    """
    labels = np.zeros(shape, dtype=np.int32)
    centres: list[tuple[float, float, float]] = []
    common_angle = rng.uniform(0, np.pi)
    draw_position = _position_sampler(rng, shape, density)
    for _ in range(count):
        radius = population.radius * float(np.exp(np.clip(rng.normal(0, population.spread), -1.2, 1.2)))
        elongation = 1 + float(rng.gamma(4.0, max(population.elongation - 1, 1e-3) / 4.0))
        for _ in range(ATTEMPTS):
            if centres and rng.random() < population.clumping:
                x, y = _beside(rng, centres[int(rng.integers(len(centres)))], radius)
            else:
                x, y = draw_position()
            if not (0 <= x < shape[1] and 0 <= y < shape[0]):
                continue
            angle = rng.uniform(0, np.pi)
            if rng.random() < population.aligned:
                base = common_angle if direction is None else float(direction[int(y), int(x)])
                angle = base + rng.normal(0, 0.25)
            outline = nucleus_outline(rng, radius, elongation, population.irregularity, angle) + np.array([x, y])
            if _draw(labels, outline, len(centres) + 1, population.overlap):
                centres.append((x, y, radius))
                break
    return labels


def _draw(labels: np.ndarray, outline: np.ndarray, label: int, overlap: float) -> bool:
    """Draw one nucleus on free pixels, if enough of it is free; return whether it was drawn."""
    mask, window = rasterise(outline, labels.shape)
    area = int(np.count_nonzero(mask))
    if area < SMALLEST:
        return False
    free = mask & (labels[window] == 0)
    if np.count_nonzero(free) < (1 - overlap) * area:
        return False
    if np.count_nonzero(free) < area:
        free = _largest_piece(free)
        if np.count_nonzero(free) < max(SMALLEST, (1 - overlap) * area):
            return False
    labels[window][free] = label
    return True


def drop_fragments(labels: np.ndarray, smallest: int = SMALLEST) -> None:
    """Clear the nuclei of which fewer than `smallest` pixels are in the image, as those that its border cuts off.

    Args:
        labels: int32 (H, W), 0 background; changed in place, so that it may be a window of a larger field.
        smallest: pixels.
    """
    areas = np.bincount(labels.ravel())
    labels[(areas < smallest)[labels]] = 0


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    pieces, labelled, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if pieces <= 2:
        return mask
    return labelled == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))


def _beside(rng: np.random.Generator, centre: tuple[float, float, float], radius: float) -> tuple[float, float]:
    """A position that just touches a round nucleus."""
    x, y, other = centre
    angle = rng.uniform(0, 2 * np.pi)
    distance = (radius + other) * rng.uniform(0.85, 1.1)
    return x + distance * float(np.cos(angle)), y + distance * float(np.sin(angle))


def _position_sampler(
    rng: np.random.Generator, shape: tuple[int, int], density: np.ndarray | None
) -> Callable[[], tuple[float, float]]:
    if density is None:
        return lambda: (float(rng.uniform(0, shape[1])), float(rng.uniform(0, shape[0])))
    coarse = np.maximum(density[::GRID, ::GRID], 0).astype(np.float64)
    cumulative = np.cumsum(coarse.ravel() + 1e-9)
    columns = coarse.shape[1]

    def draw() -> tuple[float, float]:
        cell = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
        row, column = divmod(min(cell, cumulative.size - 1), columns)
        return (column + float(rng.random())) * GRID, (row + float(rng.random())) * GRID

    return draw
