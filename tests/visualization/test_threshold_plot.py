import numpy as np

from nucleus.visualization.threshold_plot import threshold_plot

THRESHOLDS = [k / 100 for k in range(100)]


def test_every_curve_and_the_mark_are_drawn():
    curve = np.linspace(0.2, 0.8, 100)
    few = threshold_plot(THRESHOLDS, {"overall": curve}, {}, 0.5)
    assert few.dtype == np.uint8 and few.shape[2] == 3
    for more in (
        threshold_plot(THRESHOLDS, {"overall": curve, "purple_tissue": curve / 2}, {}, 0.5),
        threshold_plot(THRESHOLDS, {"overall": curve}, {"count error": curve}, 0.5),
        threshold_plot(THRESHOLDS, {"overall": curve}, {}, 0.6),
        threshold_plot(THRESHOLDS, {"overall": curve}, {}, 0.5, "a title"),
    ):
        assert (few != more).any()


def test_undefined_values_leave_a_gap():
    threshold_plot(THRESHOLDS, {"overall": np.full(100, 0.5)}, {"count error": np.full(100, np.nan)}, 0.5)
