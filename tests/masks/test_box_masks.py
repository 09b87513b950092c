from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.kaggle_runs import decode_kaggle
from nucleus.masks.rle import encode_coco, runs_from_coco


@st.composite
def masks_in_boxes(draw, most=4, side=9):
    """Masks in boxes of any size, empty ones too, of an image of at least one pixel."""
    height, width = draw(st.integers(1, side)), draw(st.integers(1, side))
    boxes, crops = [], []
    for _ in range(draw(st.integers(0, most))):
        left, right = sorted((draw(st.integers(0, width)), draw(st.integers(0, width))))
        top, bottom = sorted((draw(st.integers(0, height)), draw(st.integers(0, height))))
        boxes.append((left, top, right, bottom))
        crops.append(draw(arrays(bool, (bottom - top, right - left))))
    return BoxMasks(np.array(boxes), crops, height, width)


def two_masks() -> BoxMasks:
    """In 3 x 4 pixels: a bar that runs to the bottom of column 1 and on at the top of column 2, and one pixel."""
    bar = np.array([[False, True], [True, False], [True, False]])
    return BoxMasks(np.array([[1, 0, 3, 3], [3, 2, 4, 3]]), [bar, np.array([[True]])], 3, 4)


def test_by_hand():
    masks = two_masks()
    assert len(masks) == 2
    assert masks.areas.tolist() == [3, 1]
    assert masks.encode() == [{"size": [3, 4], "counts": "435"}, {"size": [3, 4], "counts": ";1"}]
    assert np.asarray(masks)[0].tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    runs, runs_of_mask = masks.runs()
    assert runs.tolist() == [[4, 7], [11, 12]]  # two columns joined; the last pixel
    assert runs_of_mask.tolist() == [1, 1]


def test_no_masks():
    masks = BoxMasks(np.zeros((0, 4)), [], 3, 4)
    assert len(masks) == 0
    assert masks.encode() == []
    assert masks.areas.tolist() == []
    assert np.asarray(masks).shape == (0, 3, 4)
    assert len(masks[np.zeros(0, dtype=bool)]) == 0


@given(masks_in_boxes())
def test_equal_to_whole_masks(masks):
    stack = np.asarray(masks)
    np.testing.assert_array_equal(stack, np.array(list(masks)).reshape(stack.shape))
    expected = [coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in stack]
    assert masks.encode() == [{"size": rle["size"], "counts": rle["counts"].decode()} for rle in expected]
    assert masks.areas.tolist() == stack.sum(axis=(1, 2)).tolist()
    runs, runs_of_mask = masks.runs()
    for rle, part in zip(masks.encode(), np.split(runs, np.cumsum(runs_of_mask)[:-1]), strict=False):
        np.testing.assert_array_equal(runs_from_coco(rle), part)


@given(masks_in_boxes())
def test_from_coco_and_back(masks):
    rles = masks.encode()
    tight = BoxMasks.from_coco(rles, masks.height, masks.width)
    assert tight.encode() == rles
    for (left, top, right, bottom), rle in zip(tight.boxes.tolist(), rles, strict=True):
        x, y, width, height = coco_mask.toBbox(rle)
        spans_columns = any((stop - 1) // masks.height > start // masks.height for start, stop in runs_from_coco(rle))
        assert (left, right) == (x, x + width)
        assert (top, bottom) == ((0, masks.height) if spans_columns else (y, y + height))


@given(masks_in_boxes(), st.data())
def test_indexing_is_that_of_a_stack(masks, data):
    stack, count = np.asarray(masks), len(masks)
    item = data.draw(
        arrays(bool, count)
        | arrays(np.int64, st.integers(0, 5 if count else 0), elements=st.integers(-max(count, 1), max(count - 1, 0)))
        | st.slices(count)
    )
    np.testing.assert_array_equal(np.asarray(masks[item]), stack[item])
    for index in range(-count, count):
        np.testing.assert_array_equal(np.asarray(masks[index])[0], stack[index])
    both = BoxMasks.cat([masks[:1], masks[1:]])
    np.testing.assert_array_equal(np.asarray(both), stack)


def test_an_index_outside():
    with pytest.raises(IndexError):
        two_masks()[2]


def test_crops_and_a_packed_buffer_are_the_same():
    masks = two_masks()
    assert masks.pixels.tolist() == [False, True, True, True, False, False, True]  # down the columns of each crop
    again = BoxMasks(masks.boxes, masks.pixels, 3, 4)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(masks))
    assert [crop.tolist() for crop in masks.crops()] == [[[False, True], [True, False], [True, False]], [[True]]]


@pytest.mark.parametrize(
    ("box", "crop", "message"),
    [
        ([0, 0, 5, 1], np.ones((1, 5), dtype=bool), "inside 3 x 4"),
        ([-1, 0, 1, 1], np.ones((1, 2), dtype=bool), "inside 3 x 4"),
        ([2, 0, 1, 1], np.ones((1, 0), dtype=bool), "inside 3 x 4"),
        ([0, 0, 2, 1], np.ones((2, 1), dtype=bool), "one crop"),
    ],
)
def test_what_does_not_fit_is_refused(box, crop, message):
    with pytest.raises(ValueError, match=message):
        BoxMasks(np.array([box]), [crop], 3, 4)


def test_a_buffer_of_another_size_is_refused():
    with pytest.raises(ValueError, match="expected 2 pixels, bool, found 3"):
        BoxMasks(np.array([[0, 0, 2, 1]]), np.ones(3, dtype=bool), 3, 4)


def test_real_masks(bbbc038_source):
    """All test masks of BBBC038, image by image, equal to pycocotools byte by byte."""
    masks: dict[str, list[np.ndarray]] = {}
    with (bbbc038_source / "stage1_solution.csv").open() as file:
        next(file)
        for line in file:
            image_id, runs, height, width = line.split(",")[:4]
            masks.setdefault(image_id, []).append(decode_kaggle(runs, int(height), int(width)))
    for stack in masks.values():
        rles = [encode_coco(mask) for mask in stack]
        held = BoxMasks.from_coco(rles, *stack[0].shape)
        assert held.encode() == rles
        assert held.pixels.size < stack[0].size  # the boxes together are smaller than the image
        np.testing.assert_array_equal(held.areas, [mask.sum() for mask in stack])
