import numpy as np

from nucleus.visualization.learning_curve import learning_curve


def test_what_is_given_is_drawn():
    dense = [(step, 2.0 - step / 1000) for step in range(0, 1000, 10)]
    few = [(500, 0.5), (1000, 0.6)]
    picture = learning_curve({"training": dense, "validation": few}, {"DSB score": few}, "title")
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    without = learning_curve({"training": dense, "validation": []}, {"DSB score": []}, "title")
    assert without.shape == picture.shape
    assert (picture != without).any(axis=2).mean() > 0.003


def test_a_single_outlier_shows():
    calm = [(step, 1.0) for step in range(100)]
    jump = [(step, 3.0 if step == 50 else 1.0) for step in range(100)]
    drawn = [learning_curve({"training": one}, {}) for one in (calm, jump)]
    differ = (drawn[0] != drawn[1]).any(axis=2)
    assert differ.any()  # in the faint line; the median does not move
