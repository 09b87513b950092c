import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import mask as coco_mask

from nucleus.masks.rle import (
    coco_area,
    coco_box,
    decode_coco,
    encode_coco,
    label_image_from_coco,
    normal_coco,
    rle_from_counts,
    rle_from_runs,
    rles_from_label_image,
    runs_from_coco,
    runs_of_many,
)

MASKS = npst.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(MASKS)
def test_every_mask_survives(mask):
    assert (decode_coco(encode_coco(mask)) == mask).all()


@given(MASKS, st.integers(1, 30))
def test_runs_of_large_masks_decode_as_pycocotools_does(mask, factor):
    large = np.repeat(np.repeat(mask, factor, axis=0), factor, axis=1)
    rle = coco_mask.encode(np.asfortranarray(large, dtype=np.uint8))
    drawn = np.zeros(large.size, dtype=bool)
    for start, stop in runs_from_coco(rle):
        drawn[start:stop] = True
    assert np.array_equal(drawn.reshape(large.shape[::-1]).T, large)


@given(st.lists(npst.arrays(bool, (9, 70)), max_size=5), st.integers(1, 9))
def test_many_rles_decode_together_as_each_by_itself(masks, factor):
    rles = [encode_coco(np.repeat(np.repeat(mask, factor, axis=0), factor, axis=1)) for mask in masks]
    for runs, rle in zip(runs_of_many(rles), rles, strict=True):
        assert np.array_equal(runs, runs_from_coco(rle))


def test_many_rles_may_be_uncompressed_or_empty():
    rles = [{"size": [2, 2], "counts": [1, 2, 1]}, encode_coco(np.zeros((2, 2), bool)), {"size": [0, 0], "counts": ""}]
    assert [runs.tolist() for runs in runs_of_many(rles)] == [[[1, 3]], [], []]


def test_uncompressed_counts_decode():
    rle = {"size": [2, 2], "counts": [1, 2, 1]}
    assert decode_coco(rle).tolist() == [[False, True], [True, False]]
    assert runs_from_coco(rle).tolist() == [[1, 3]]


def test_area_and_box_are_in_pixels():
    mask = np.zeros((5, 7), dtype=bool)
    mask[1:3, 2:6] = True
    assert coco_area(encode_coco(mask)) == 8
    assert coco_box(encode_coco(mask)) == [2, 1, 4, 2]


def test_the_earlier_rle_keeps_shared_pixels():
    first = np.array([[1, 1, 0]], dtype=bool)
    second = np.array([[0, 1, 1]], dtype=bool)
    assert label_image_from_coco([encode_coco(first), encode_coco(second)], 1, 3).tolist() == [[1, 1, 2]]


def test_no_rles_give_background():
    assert not label_image_from_coco([], 3, 2).any()


@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 3)))
def test_the_nuclei_of_a_label_image_as_coco_rle(labels):
    expected = [encode_coco(labels == label) for label in np.unique(labels[labels != 0])]
    assert rles_from_label_image(labels) == expected


@pytest.mark.parametrize(
    "counts",
    [
        "P",
        "0o",
        "00P",
        "0" + 9 * "P" + "0",
        "é",
        "0\x000",
        "0 0",
        "O",
        "0O",
        "PPPP1",
        [-1, 5],
        [0.5],
        [None],
        [1 << 70],
    ],
)
def test_counts_that_lie_are_refused(counts):
    """Not ended, too long, other characters, negative, beyond the image: pycocotools would leave its memory."""
    rle = {"size": [2, 2], "counts": counts}
    whole = encode_coco(np.ones((2, 2), bool))
    for read in (runs_from_coco, decode_coco, lambda one: runs_of_many([whole, one])):
        with pytest.raises(ValueError, match="expected"):
            read(rle)


@pytest.mark.parametrize("counts", ["P", "00P", "é", "0\x000", 3, None])
def test_area_and_box_take_whole_strings_only(counts):
    for read in (coco_area, coco_box):
        with pytest.raises(ValueError, match="expected counts"):
            read({"size": [2, 2], "counts": counts})
        assert not np.any(read({"size": [0, 2], "counts": "11"})), "pycocotools divides by the height"


def test_masks_too_large_for_the_buffer_of_pycocotools_are_written_here():
    """Of counts from 2**24 on it writes one character too many, from 2**29 on two."""
    size = (1 << 15, 1 << 15)
    counts = [0, 1 << 29, (1 << 29) - 1, 1]
    rle = rle_from_counts(counts, *size)

    assert runs_from_coco(rle).tolist() == [[0, 1 << 29], [(1 << 30) - 1, 1 << 30]]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_our_writer_agrees_with_that_of_pycocotools(counts):
    size = (1, sum(counts) + 1)
    counts[-1] += 1
    small = rle_from_counts(counts, *size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nucleus.masks.rle.ROOM", 0)
        assert rle_from_counts(counts, *size) == small


@given(MASKS)
def test_masks_of_any_size_are_written_alike(mask):
    small = encode_coco(mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nucleus.masks.rle.ROOM", 0)
        assert encode_coco(mask) == small
        assert rle_from_runs(runs_from_coco(small), *mask.shape) == small


def test_runs_that_touch_become_one():
    runs = np.array([[0, 2], [2, 3], [4, 6]])
    assert runs_from_coco(rle_from_runs(runs, 2, 3)).tolist() == [[0, 3], [4, 6]]
    assert rle_from_runs(runs[:0], 2, 3) == encode_coco(np.zeros((2, 3), bool))


@pytest.mark.parametrize(
    "counts", [[1, 2, 1], [0, 0, 1, 2], [1, 1, 0, 1], [1, 2, 0, 0, 1], "121", "12", "0012", b"121"]
)
def test_one_mask_has_one_normal_form(counts):
    mask = np.array([[0, 1], [1, 0]], bool)
    assert normal_coco({"size": [2, 2], "counts": counts}) == encode_coco(mask)
