"""Scores against the score threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from nucleus.visualization.colors import group_colors, hex_color
from nucleus.visualization.figure import Figure, pixels_of

INCHES = (12.0, 4.6)
DPI = 110
INK = "#1e1e1e"


def threshold_plot(
    thresholds: Sequence[float],
    dsb_scores: Mapping[str, np.ndarray],
    others: Mapping[str, np.ndarray],
    used: float,
    title: str = "",
) -> np.ndarray:
    """Plot the DSB score of each kind of image, and beside it other scores of all images.

    Args:
        thresholds: T, ascending.
        dsb_scores: (T,) by the name of the kind; the first, of all images, is drawn strongest.
        others: (T,) by name; what is not finite is left out.
        used: the threshold that is marked by a vertical line.
        title: above the plots.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    first, *kinds = dsb_scores
    colors = group_colors(kinds)
    for kind in kinds:
        left.plot(thresholds, dsb_scores[kind], color=hex_color(colors[kind]), linewidth=1.3, label=_words(kind))
    left.plot(thresholds, dsb_scores[first], color=INK, linewidth=2.4, label=_words(first))
    for (name, values), color in zip(others.items(), group_colors(list(others)).values(), strict=True):
        right.plot(thresholds, np.where(np.isfinite(values), values, np.nan), color=hex_color(color), label=name)
    _finish(left, "DSB score (image mean)", used)
    _finish(right, "", used)
    right.set_ylim(0, min(1.0, right.get_ylim()[1]))  # a count error may be far above 1 where all detections count
    return pixels_of(figure, title)


def _finish(axes: Axes, label: str, used: float) -> None:
    axes.axvline(used, color=INK, linewidth=1, linestyle="--", label=f"used: {used:.2f}")
    axes.set_xlim(0, 1)
    axes.set_xlabel("score threshold")
    axes.set_ylabel(label)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="best")


def _words(kind: str) -> str:
    return kind.replace("_", " ")
