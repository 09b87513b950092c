from __future__ import annotations

import numpy as np
import pytest

from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.resolve_overlaps import label_image_from_box_masks, label_image_from_scored
from nucleus.masks.rle import encode_coco


def rectangle(top: int, left: int, bottom: int, right: int) -> dict:
    mask = np.zeros((8, 10), dtype=bool)
    mask[top:bottom, left:right] = True
    return encode_coco(mask)


def test_shared_pixels_go_to_the_higher_score():
    labels, dropped = label_image_from_scored([rectangle(0, 0, 4, 5), rectangle(0, 3, 4, 8)], [0.6, 0.9], 8, 10)
    expected = np.zeros((8, 10), dtype=np.int32)
    expected[:4, :5] = 2
    expected[:4, 3:8] = 1  # the highest score is nucleus 1
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.int32
    assert dropped == 0


def test_of_equal_scores_the_earlier_mask_wins():
    labels, _ = label_image_from_scored([rectangle(0, 0, 4, 5), rectangle(0, 3, 4, 8)], [0.5, 0.5], 8, 10)
    assert labels[0].tolist() == [1, 1, 1, 1, 1, 2, 2, 2, 0, 0]


def test_the_threshold_itself_counts():
    rles = [rectangle(0, 0, 2, 2), rectangle(4, 4, 6, 6)]
    labels, dropped = label_image_from_scored(rles, [0.5, 0.49999], 8, 10, score_threshold=0.5)
    assert labels.max() == 1
    assert labels[0, 0] == 1
    assert dropped == 0  # what is below the threshold is not counted


def test_parts_of_others_are_dropped_and_counted():
    rles = [
        rectangle(0, 0, 4, 5),  # 20 pixels
        rectangle(0, 1, 4, 6),  # keeps its last column, 4 pixels
        rectangle(0, 0, 2, 2),  # keeps nothing
        rectangle(6, 8, 7, 9),  # one pixel, but its own
        rectangle(0, 0, 0, 0),  # no pixel
        rectangle(3, 3, 8, 6),  # keeps 13 of 15, one of them claimed by the second mask, which is dropped
    ]
    labels, dropped = label_image_from_scored(rles, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 8, 10)
    assert dropped == 3
    assert np.unique(labels).tolist() == [0, 1, 2, 3]  # consecutive again
    assert (labels == 1).sum() == 20
    assert labels[0, 5] == 0  # what was dropped went to background
    assert labels[6, 8] == 2
    assert (labels == 3).sum() == 13


def test_half_of_its_pixels_are_enough():
    whole, half = rectangle(0, 0, 4, 4), rectangle(0, 2, 4, 6)
    assert label_image_from_scored([whole, half], [0.9, 0.8], 8, 10)[1] == 0
    assert label_image_from_scored([whole, half], [0.9, 0.8], 8, 10, min_kept=0.6)[1] == 1


def test_no_masks():
    labels, dropped = label_image_from_scored([], [], 3, 4)
    np.testing.assert_array_equal(labels, np.zeros((3, 4), dtype=np.int32))
    assert dropped == 0


def test_nan_scores_are_below_every_threshold():
    labels, dropped = label_image_from_scored([rectangle(0, 0, 4, 5)], [float("nan")], 8, 10)
    assert labels.max() == 0
    assert dropped == 0


def test_says_which_mask_each_nucleus_is():
    rles = [rectangle(0, 0, 4, 5), rectangle(0, 0, 2, 2), rectangle(4, 4, 6, 6), rectangle(6, 0, 8, 2)]
    masks = BoxMasks.from_coco(rles, 8, 10)
    labels, kept, dropped = label_image_from_box_masks(masks, [0.6, 0.5, 0.9, 0.1], score_threshold=0.4)
    assert kept.tolist() == [2, 0]
    assert dropped == 1
    assert (labels[5, 5], labels[3, 4], labels[7, 0]) == (1, 2, 0)


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_rule_written_out_for_whole_masks(seed):
    """Many masks that overlap, in boxes larger than they are, at scores of which some are equal."""
    rng = np.random.default_rng(seed)
    height, width, count = (int(value) for value in rng.integers(1, 60, size=3))
    left, right = np.sort(rng.integers(0, width + 1, size=(2, count)), axis=0)
    top, bottom = np.sort(rng.integers(0, height + 1, size=(2, count)), axis=0)
    crops = [rng.random((b - t, r - x)) < 0.6 for x, t, r, b in zip(left, top, right, bottom, strict=True)]
    masks = BoxMasks(np.stack([left, top, right, bottom], axis=1), crops, height, width)
    scores = rng.integers(0, 10, size=count) / 10

    expected, lost = np.zeros((height, width), dtype=np.int32), 0
    stack = np.asarray(masks)
    for index in sorted(range(count), key=lambda one: (-scores[one], one)):
        if scores[index] < 0.3:
            continue
        free = stack[index] & (expected == 0)
        if free.sum() == 0 or free.sum() / stack[index].sum() < 0.5:
            lost += 1
        else:
            expected[free] = expected.max() + 1

    labels, _, dropped = label_image_from_box_masks(masks, scores, score_threshold=0.3)
    np.testing.assert_array_equal(labels, expected)
    assert dropped == lost
    by_rle = label_image_from_scored(masks.encode(), scores.tolist(), height, width, score_threshold=0.3)
    np.testing.assert_array_equal(by_rle[0], expected)
    assert by_rle[1] == lost
