"""Each thing that can be wrong with a mask, and what becomes of it."""

import cv2
import numpy as np
import pytest
from small_bbbc038 import png

from nucleus.data.mask_collector import MaskCollector, decode_mask
from nucleus.data.repairs import Repairs
from nucleus.errors import InputError
from nucleus.masks.rle import decode_coco


def square(value=255, left=2, top=3, dtype=np.uint8):
    mask = np.zeros((10, 12), dtype)
    mask[top : top + 4, left : left + 5] = value
    return mask


def collect(*masks, strict=False):
    """Collector and repairs after the masks named a, b, c..."""
    repairs = Repairs(strict)
    collector = MaskCollector(10, 12, repairs)
    for name, mask in zip("abcd", masks, strict=False):
        collector.add(mask, name)
    return collector, repairs


def decoded(collector):
    return [decode_coco({"size": [10, 12], "counts": nucleus.counts}) for nucleus in collector.nuclei]


@pytest.mark.parametrize(
    "mask", [square(), square(1), square(7), square(1, dtype=np.uint16), square(60_000, dtype=np.uint16)]
)
def test_a_good_mask_is_kept_whatever_its_one_value(mask):
    collector, repairs = collect(mask)
    assert not repairs.found
    assert (collector.nuclei[0].box, collector.nuclei[0].area) == ((2, 3, 5, 4), 20)
    assert np.array_equal(decoded(collector)[0], mask > 0)


@pytest.mark.parametrize("shape", [(12, 10), (10, 13), (9, 12), (1, 1)])
def test_a_mask_of_another_size_is_left_out(shape):
    collector, repairs = collect(np.ones(shape, np.uint8), square())
    assert [(repair.kind, repair.where) for repair in repairs.found] == [("mask_size", "a")]
    assert len(collector.nuclei) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_empty_mask_is_left_out(dtype):
    collector, repairs = collect(square(0, dtype=dtype), square())
    assert [(repair.kind, repair.where) for repair in repairs.found] == [("empty_mask", "a")]
    assert len(collector.nuclei) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_of_a_mask_that_is_not_binary_the_upper_half_is_the_nucleus(dtype):
    mask = square(200, dtype=dtype)
    mask[3, 2:7] = 99  # the upper row: less than half of 200
    mask[4, 2:7] = 100
    collector, repairs = collect(mask)
    assert repairs.counts() == {"non_binary_mask": 1}
    assert repairs.found[0].found == "3 values above 0"
    assert np.array_equal(decoded(collector)[0], mask >= 100)
    assert (collector.nuclei[0].box, collector.nuclei[0].area) == ((2, 4, 5, 3), 15)


def test_overlapping_masks_are_kept_whole_and_counted():
    collector, repairs = collect(square(), square(left=6), square(left=5, top=6))
    # a: columns 2-6, rows 3-6; b: 6-10, 3-6; c: 5-9, 6-9
    assert [(r.kind, r.where, r.found) for r in repairs.found] == [
        ("overlapping_mask", "b", "4 pixels shared with a"),
        ("overlapping_mask", "c", "5 pixels shared with a, b"),
    ]
    assert collector.shared_pixels == 9
    assert [mask.sum() for mask in decoded(collector)] == [20, 20, 20]


def test_the_same_mask_twice_is_kept_once():
    collector, repairs = collect(square(), square(1))
    assert [(r.kind, r.where, r.found) for r in repairs.found] == [("duplicated_mask", "b", "the same pixels as a")]
    assert len(collector.nuclei) == 1 and collector.shared_pixels == 0


@pytest.mark.parametrize(
    "masks",
    [
        (np.ones((3, 3), np.uint8),),
        (square(0),),
        (square(left=2) + square(3, left=3),),
        (square(), square(left=6)),
        (square(), square()),
    ],
)
def test_strict_stops_at_each(masks):
    with pytest.raises(InputError, match="without --strict"):
        collect(*masks, strict=True)


def test_a_mask_file_may_be_grey_or_coloured_or_have_alpha():
    grey = square()
    colours = [grey, cv2.merge([grey, grey, grey]), cv2.merge([grey * 0, grey * 0, grey])]
    alpha = cv2.merge([grey, grey, grey, np.full_like(grey, 255)])
    for pixels in (*colours, alpha, grey.astype(np.uint16) * 257):
        assert np.array_equal(decode_mask(png(pixels)) > 0, grey > 0)


@pytest.mark.parametrize("keep", [0, 20, 60, -16, -1])
def test_a_truncated_file_is_not_decoded(keep):
    assert decode_mask(png(square())[:keep]) is None


def test_a_mask_that_declares_more_than_memory_holds_is_not_decoded():
    content = bytearray(png(square()))
    content[16:24] = (30_000).to_bytes(4, "big") * 2
    assert decode_mask(bytes(content)) is None
    content[16:24] = (2_000_000).to_bytes(4, "big") + (1).to_bytes(4, "big")  # OpenCV raises
    assert decode_mask(bytes(content)) is None
    assert decode_mask(b"") is None
