"""The paired difference of two results: of scores with intervals, and image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nucleus.visualization.colors import group_colors, hex_color
from nucleus.visualization.figure import Figure, pixels_of

INCHES = (12.0, 4.6)
DPI = 110
INK = "#1e1e1e"


def difference_plot(
    scores: Mapping[str, tuple[float, tuple[float, float] | None]],
    images: Sequence[tuple[float, str]],
    title: str = "B - A: above 0, B is better",
) -> np.ndarray:
    """Plot the differences of scores with their intervals, and beside them those of all images, sorted.

    Args:
        scores: difference and interval (low, high), where there is one, by the name of the score.
        images: difference of the DSB score and modality of each image.
        title: above the plots.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    for position, (difference, interval) in enumerate(scores.values()):
        if interval is not None:
            left.hlines(position, *interval, color=INK, linewidth=2)
        left.plot(difference, position, "o", color=INK)
    left.axvline(0, color=INK, linewidth=1, linestyle="--")
    left.set_yticks(range(len(scores)), list(scores))
    left.invert_yaxis()
    left.set_title("difference of scores, image mean, with interval", fontsize=10)
    left.grid(axis="x", alpha=0.25)

    ranked = sorted(images)
    kinds = sorted({kind for _, kind in images})
    colors = group_colors(kinds)
    for kind in kinds:
        points = [(place, difference) for place, (difference, other) in enumerate(ranked, start=1) if other == kind]
        right.plot(*zip(*points, strict=True), "o", ms=4, color=hex_color(colors[kind]), label=kind.replace("_", " "))
    right.axhline(0, color=INK, linewidth=1, linestyle="--")
    right.set_xlabel("images, sorted")
    right.set_title("difference of the DSB score of each image", fontsize=10)
    right.grid(alpha=0.25)
    right.legend(fontsize=8, loc="best")
    return pixels_of(figure, title)
