from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from nucleus.masks.coco_counts import checked_counts, counts_from_strings, strings_from_counts, sums_of_each

LISTS = st.lists(st.lists(st.integers(0, 2**28), min_size=1, max_size=8), min_size=1, max_size=4)


def flat(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The lists one after the other, and the length of each."""
    counts = [count for one in lists for count in one]
    return np.array(counts, dtype=np.int64), np.array([len(one) for one in lists], dtype=np.int64)


def test_by_hand():
    """11 is one character, 59 in base 64 from '0'; 16 needs a second, since the highest bit of the last is the sign."""
    assert strings_from_counts(*flat([[11], [16], [0, 1, 2, 0]])) == [";", "`0", "012O"]
    assert checked_counts("012O").tolist() == [0, 1, 2, 0]
    assert strings_from_counts(*flat([])) == []


# pycocotools has room for six characters a count: with larger counts it writes beyond its buffer.
@given(LISTS)
def test_strings_are_those_of_pycocotools(lists):
    expected = [coco_mask.frPyObjects({"size": [1, 1], "counts": one}, 1, 1)["counts"].decode() for one in lists]
    assert strings_from_counts(*flat(lists)) == expected


@given(LISTS)
def test_all_counts_survive_together_and_one_by_one(lists):
    counts, lengths = flat(lists)
    texts = strings_from_counts(counts, lengths)
    assert [checked_counts(text).tolist() for text in texts] == lists
    together, how_many = counts_from_strings(texts)
    assert (together == counts).all() and (how_many == lengths).all()


def test_sums_begin_anew_with_each_list():
    assert sums_of_each(*flat([[1, 2, 3], [4, 5]])).tolist() == [1, 3, 6, 4, 9]


@pytest.mark.parametrize("counts", ["P", "00P", "0" + 9 * "P" + "0", "é", "0 0", b"P", 3, None])
def test_what_is_no_string_of_counts_is_refused(counts):
    with pytest.raises(ValueError, match="expected counts as a COCO string"):
        checked_counts(counts)


@pytest.mark.parametrize("counts", [[-1, 5], [0.5], [None], [1 << 70]])
def test_lists_of_other_things_are_refused(counts):
    with pytest.raises(ValueError, match="whole numbers of at least 0"):
        checked_counts(counts)
