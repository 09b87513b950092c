from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.layers.mask_ops import _do_paste_mask, paste_masks_in_image

from nucleus.masks.paste import paste_masks, pixels_touched

ON_THRESHOLD = 1e-5  # of a probability: several roundings of float32 along another way to the same number


def test_by_hand():
    """One sample a pixel: where box and pixels agree, the mask is the probabilities at the threshold."""
    probabilities = np.array([[[0.1, 0.5], [0.9, 0.4]]], dtype=np.float32)
    masks = paste_masks(probabilities, np.array([[1, 2, 3, 4]]), 5, 4)
    assert masks.boxes.tolist() == [[1, 2, 3, 4]]
    assert masks.crops()[0].tolist() == [[False, True], [True, False]]
    assert (masks.height, masks.width) == (5, 4)


def test_half_a_pixel():
    """A box from half to half: centres of pixels lie on its edges, where half of a sample is left."""
    masks = paste_masks(np.ones((1, 4, 4), dtype=np.float32), np.array([[0.5, 0.75, 2.5, 2.25]]), 4, 4)
    assert masks.boxes.tolist() == [[0, 0, 3, 3]]
    assert masks.crops()[0].tolist() == [[False] * 3, [True] * 3, [False] * 3]  # 0.5 is the threshold itself


@pytest.mark.parametrize(
    "box",
    [
        [3, 3, 3, 5],  # no width
        [3, 5, 6, 5],  # no height
        [3.2, 3, 3.2, 5],  # no width inside a pixel
        [5, 5, 3, 3],  # inside out
        [-5, -5, -1, -1],
        [10, 0, 12, 3],  # to the right of the image
        [np.nan, 0, 3, 3],
    ],
)
def test_boxes_without_pixels_give_empty_masks(box):
    boxes = np.array([[1, 1, 4, 4], box, [0, 0, 2, 2]], dtype=np.float32)
    masks = paste_masks(np.ones((3, 28, 28), dtype=np.float32), boxes, 8, 10)
    assert masks.areas.tolist() == [9, 0, 4]
    assert masks.boxes[1].tolist() == [0, 0, 0, 0]
    assert masks.encode()[1] == {"size": [8, 10], "counts": "`2"}


def test_no_masks():
    masks = paste_masks(np.zeros((0, 28, 28), dtype=np.float32), np.zeros((0, 4)), 8, 10)
    assert len(masks) == 0
    assert masks.encode() == []


def test_a_box_within_one_pixel():
    masks = paste_masks(
        np.ones((2, 28, 28), dtype=np.float32), np.array([[2.4, 2.4, 2.6, 2.6], [2, 2, 2.4, 2.4]]), 8, 8
    )
    assert masks.boxes.tolist() == [[2, 2, 3, 3]] * 2
    assert masks.areas.tolist() == [1, 0]  # the second box misses the centre of its pixel


def test_touched_pixels_are_inside_the_image():
    boxes = np.array([[-3.5, 1.2, 2.1, 99], [0, 0, 1, 1]])
    assert pixels_touched(boxes, 8, 10).tolist() == [[0, 1, 3, 8], [0, 0, 1, 1]]


@pytest.mark.parametrize(("height", "width"), [(60, 80), (1, 1), (7, 200)])
def test_equal_to_detectron2_but_for_pixels_on_the_threshold(height, width):
    rng = np.random.default_rng(0)
    count = 300
    centre = rng.uniform(-0.1, 1.1, (count, 2)) * (width, height)
    extent = rng.exponential(20, (count, 2)) + 0.01
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1).astype(np.float32)
    boxes[:50] = np.round(boxes[:50] * 2) / 2  # whole and half pixels
    # Detectron2 fails on boxes outside of the image; its post-processing leaves them out before.
    boxes = boxes[(pixels_touched(boxes, height, width) != 0).any(axis=1)]
    probabilities = rng.random((len(boxes), 28, 28)).astype(np.float32)
    probabilities[::3] = probabilities[::3] > 0.5  # saturated, so that 0.5 itself is met

    masks = np.asarray(paste_masks(probabilities, boxes, height, width))
    as_tensors = torch.from_numpy(probabilities), torch.from_numpy(boxes)
    stock = paste_masks_in_image(*as_tensors, (height, width)).numpy()
    soft = _do_paste_mask(as_tensors[0][:, None], as_tensors[1], height, width, skip_empty=False)[0].numpy()
    differing = masks != stock
    print(f"{differing.sum()} of {stock.sum()} pixels differ")
    assert stock.any()
    assert (np.abs(soft[differing] - 0.5) < ON_THRESHOLD).all()
    assert differing.sum() <= 1e-3 * stock.sum()
