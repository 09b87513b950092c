import numpy as np
import pytest

from nucleus.data.geometry import View, base_scale, enlarge, random_view

RAMP = np.arange(12, dtype=np.int32).reshape(3, 4)


def test_a_view_at_scale_one_is_a_plain_crop():
    assert View(1.0, left=1, top=1, width=2, height=2).apply(RAMP, nearest=True).tolist() == [[5, 6], [9, 10]]


def test_a_quarter_turn_is_counter_clockwise_and_the_flip_comes_after_it():
    turned = View(1.0, 0, 0, 4, 3, quarter_turns=1).apply(RAMP, nearest=True)
    assert turned.tolist() == np.rot90(RAMP).tolist()
    flipped = View(1.0, 0, 0, 4, 3, quarter_turns=1, flip=True).apply(RAMP, nearest=True)
    assert flipped.tolist() == np.rot90(RAMP)[:, ::-1].tolist()


def test_doubling_repeats_every_label_twice():
    doubled = View(2.0, 0, 0, 8, 6).apply(RAMP, nearest=True)
    assert doubled.dtype == np.int32
    assert (doubled == np.kron(RAMP, np.ones((2, 2), int))).all()


def test_large_labels_survive_the_warp():
    labels = np.array([[2**24 - 1, 70_000]], dtype=np.int32)
    assert View(2.0, 0, 0, 4, 2).apply(labels, nearest=True)[0].tolist() == [2**24 - 1, 2**24 - 1, 70_000, 70_000]


@pytest.mark.parametrize("scale", [0.7, 1.3, 2.0, 2.6])
@pytest.mark.parametrize(("turns", "flip"), [(0, False), (1, True), (3, False)])
def test_image_and_labels_do_not_drift_apart(scale, turns, flip):
    """A bright disc on black, drawn both ways: the half-bright contour of the image is the edge of the label."""
    size = 80
    rows, columns = np.mgrid[:size, :size]
    disc = ((rows - 37) ** 2 + (columns - 45) ** 2 < 20**2).astype(np.int32)
    image = np.repeat((disc * 255).astype(np.uint8)[..., None], 3, axis=2)
    side = int(size * scale) - 3
    view = View(scale, 2, 1, side, side, turns, flip)
    bright, labels = view.apply(image)[..., 0] > 127, view.apply(disc, nearest=True) > 0
    from_image, from_labels = np.argwhere(bright).mean(axis=0), np.argwhere(labels).mean(axis=0)
    assert np.abs(from_image - from_labels).max() < 0.1  # pixels between the centres of gravity
    assert (bright != labels).sum() < 0.02 * labels.sum()


def test_only_small_images_are_enlarged():
    assert base_scale(256, 320, 512) == 2.0
    assert base_scale(1040, 1388, 512) == 1.0
    assert base_scale(256, 320, 0) == 1.0
    assert enlarge(np.zeros((256, 320, 3), np.uint8), 512).shape == (512, 640, 3)
    large = np.zeros((600, 700, 3), np.uint8)
    assert enlarge(large, 512) is large


@pytest.mark.parametrize(("height", "width"), [(256, 256), (40, 300), (1040, 1388)])
def test_random_views_stay_inside_the_image_and_repeat_with_the_seed(height, width):
    settings = {"short_edge": 128, "scale_range": (0.5, 2.0), "crop_size": 128, "flip_and_turn": True}
    for seed in range(50):
        view = random_view(height, width, **settings, rng=np.random.default_rng(seed))
        assert view == random_view(height, width, **settings, rng=np.random.default_rng(seed))
        assert 1 <= view.width <= 128 and 1 <= view.height <= 128
        assert view.left + view.width <= width * view.scale
        assert view.top + view.height <= height * view.scale
        labels = np.ones((height, width), np.int32)
        assert view.apply(labels, nearest=True).all()  # no border is filled in
