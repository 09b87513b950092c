from __future__ import annotations

import numpy as np

from nucleus.visualization.figure import Figure, pixels_of


def test_a_figure_as_pixels():
    figure = Figure(figsize=(2, 1), dpi=50)
    figure.add_axes((0, 0, 1, 0.6)).axis("off")
    plain = pixels_of(figure)
    assert plain.shape == (50, 100, 3) and plain.dtype == np.uint8
    assert (plain == 255).all()
    titled = pixels_of(figure, "title")
    assert (titled[:20] < 128).any() and (titled[25:] == 255).all()
