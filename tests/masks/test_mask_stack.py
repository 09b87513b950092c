from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucleus.masks.mask_stack import box_masks_from_stack
from nucleus.masks.rle import decode_coco, encode_coco


def test_by_hand():
    mask = np.zeros((3, 4), dtype=bool)
    mask[1:, 1] = mask[0, 2] = True  # down the columns: 4 background, 3 nucleus (two columns joined), 5 background
    (rle,) = box_masks_from_stack(mask[None], np.array([[1.0, 0.0, 3.0, 3.0]])).encode()
    assert rle == {"size": [3, 4], "counts": "435"}


@given(st.data())
def test_equals_the_encoding_of_whole_masks_whatever_the_boxes(data):
    shape = data.draw(st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 9)))
    masks = data.draw(arrays(bool, shape))
    corner = st.floats(-20, 20) | st.just(np.nan)
    boxes = data.draw(arrays(np.float64, (shape[0], 4), elements=corner))
    assert box_masks_from_stack(masks, boxes).encode() == [encode_coco(mask) for mask in masks]


def test_small_masks_in_a_large_image():
    rng = np.random.default_rng(0)
    masks = np.zeros((40, 200, 300), dtype=bool)
    boxes = np.zeros((40, 4))
    for mask, box in zip(masks, boxes, strict=True):
        top, left, height, width = rng.integers(0, 190), rng.integers(0, 290), rng.integers(1, 60), rng.integers(1, 60)
        blob = rng.random((height, width)) < 0.7
        mask[top : top + height, left : left + width] = blob[: 200 - top, : 300 - left]
        box[:] = left + 0.4, top + 0.4, left + width - 0.4, top + height - 0.4
    rles = box_masks_from_stack(masks, boxes).encode()
    assert rles == [encode_coco(mask) for mask in masks]
    np.testing.assert_array_equal(decode_coco(rles[7]), masks[7])


@pytest.mark.parametrize("box", [[np.inf, 0, np.inf, 5], [np.nan] * 4, [5, 5, 2, 2], [-100, -100, -50, -50]])
def test_boxes_without_sense_lose_no_pixel(box):
    masks = np.ones((1, 4, 6), dtype=bool)
    assert box_masks_from_stack(masks, np.array([box], dtype=np.float32)).encode() == [encode_coco(masks[0])]
