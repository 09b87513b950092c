import numpy as np

from nucleus.visualization.difference_plot import difference_plot


def test_differences_with_and_without_interval_and_images_of_two_kinds():
    plot = difference_plot({"DSB score": (0.1, (0.05, 0.2))}, [(0.1, "a"), (-0.2, "b")])
    assert plot.dtype == np.uint8 and plot.shape[2] == 3
    for scores, images in (
        ({"DSB score": (0.1, None)}, [(0.1, "a"), (-0.2, "b")]),
        ({"DSB score": (0.1, (0.05, 0.2))}, [(0.1, "a"), (-0.2, "a")]),
        ({"DSB score": (0.1, (0.05, 0.3))}, [(0.1, "a"), (-0.2, "b")]),
    ):
        other = difference_plot(scores, images)
        assert other.shape != plot.shape or (other != plot).any()
