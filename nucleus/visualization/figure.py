"""Figures as pixels: drawn without a display and without pyplot's global state."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["Figure", "pixels_of"]


def pixels_of(figure: Figure, title: str = "") -> np.ndarray:
    """Draw a figure.

    Args:
        figure: with its plots.
        title: above them, in bold; empty for none.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    if title:
        figure.suptitle(title, fontweight="bold")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
