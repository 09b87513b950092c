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
    labels = np.array([[2**31 - 1, 70_000]], dtype=np.int32)
    assert View(2.0, 0, 0, 4, 2).apply(labels, nearest=True)[0].tolist() == [2**31 - 1, 2**31 - 1, 70_000, 70_000]


def disc(height, width, centre, radius):
    """A grey image with a smooth edge and a label image of a disc; `centre` (row, column) counts from the corner."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    distance = np.hypot(rows - centre[0], columns - centre[1])
    image = np.rint(255 * np.clip(radius - distance + 0.5, 0, 1)).astype(np.uint8)
    return image, (distance < radius).astype(np.int32)


def middle(mask):
    """Centre of gravity, from the corner of the image."""
    return np.argwhere(mask).mean(axis=0) + 0.5


def drifts(scale_of, place):
    """How far discs drift from where they should be, in the image and in the labels: mean over many discs, pixels.

    One disc on a grid is off by chance, by the pixels of its edge; all of them together only by a shift.
    """
    rng = np.random.default_rng(0)
    found = []
    for _ in range(150):
        centre = rng.uniform(35, 45, 2)
        image, labels = disc(80, 80, centre, rng.uniform(15, 20))
        scale = scale_of(rng)
        bright, inside, expected = place(scale, image, labels, centre)
        found.append([middle(bright > 127) - expected, middle(inside > 0) - expected])
    return np.mean(found, axis=0)


@pytest.mark.parametrize(("turns", "flip"), [(0, False), (1, False), (2, False), (3, False), (0, True), (1, True)])
@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.6, 0.9), (1.1, 2.6)])
def test_image_and_labels_stay_where_they_belong(scales, turns, flip):
    def place(scale, image, labels, centre):
        width, height = int(80 * scale) - 3, int(80 * scale) - 7
        view = View(scale, 2, 5, width, height, turns, flip)
        row, column = centre * scale - (5, 2)
        for _ in range(turns):  # counter-clockwise: the right edge becomes the upper one
            row, column, width, height = width - column, row, height, width
        column = width - column if flip else column
        return view.apply(image), view.apply(labels, nearest=True), (row, column)

    assert np.abs(drifts(lambda rng: rng.uniform(*scales), place)).max() < 0.03


def test_an_image_enlarged_for_the_network_stays_where_it_belongs():
    def place(scale, image, labels, centre):
        enlarged = enlarge(image, int(80 * scale))
        return enlarged, enlarged > 127, centre * enlarged.shape[0] / 80

    assert np.abs(drifts(lambda rng: rng.uniform(1.2, 2.6), place)).max() < 0.03


@pytest.mark.parametrize("scale", [0.61, 1.37, 2.0])
def test_both_are_sampled_at_the_same_positions(scale):
    """A ramp tells where it was sampled: bilinear to rounding, nearest to half a pixel with no bias."""
    ramp = np.tile(np.arange(120, dtype=np.int32), (30, 1))
    view = View(scale, 7, 3, 60, 10)
    positions = (7 + np.arange(60) + 0.5) / scale - 0.5
    smooth, labels = view.apply(ramp.astype(np.float32)), view.apply(ramp, nearest=True)
    assert np.abs(smooth - positions).max() < 1 / 32 + 1e-4  # older OpenCV releases count in 32nds of a pixel
    assert np.abs(labels - positions).max() <= 0.5


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
