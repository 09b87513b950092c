"""Losses and scores against the step of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from nucleus.visualization.colors import group_colors, hex_color
from nucleus.visualization.figure import Figure, pixels_of

INCHES = (12.0, 4.4)
DPI = 100
SMOOTHED = 15  # points in a running median
DENSE = 50  # points from which on a line is smoothed

Curve = Sequence[tuple[int, float]]  # step, value


def learning_curve(losses: Mapping[str, Curve], scores: Mapping[str, Curve], title: str = "") -> np.ndarray:
    """Plot losses on the left and scores on the right.

    Args:
        losses: by name; a dense one is drawn faintly, with its running median over it.
        scores: by name, in [0, 1].
        title: above the plots.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw(left, losses)
    left.set_ylim(bottom=0)
    left.set_title("loss", fontsize=10)
    _draw(right, scores)
    right.set_ylim(0, 1)
    right.set_title("scores on the validation set", fontsize=10)
    return pixels_of(figure, title)


def _draw(axes: Axes, curves: Mapping[str, Curve]) -> None:
    colors = group_colors(list(curves))
    for name, points in curves.items():
        if not points:
            continue
        steps, values = np.array(points, dtype=np.float64).T
        color = hex_color(colors[name])
        if len(points) < DENSE:
            axes.plot(steps, values, color=color, marker="o", markersize=4, label=name)
            continue
        axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
        windows = np.lib.stride_tricks.sliding_window_view(values, SMOOTHED)
        middle = slice(SMOOTHED // 2, SMOOTHED // 2 + len(windows))
        axes.plot(steps[middle], np.median(windows, axis=1), color=color, label=f"{name} (running median)")
    axes.set_xlim(left=0)
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)
    if any(curves.values()):
        axes.legend(fontsize=8)
