import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nucleus.masks.kaggle_runs import decode_kaggle, encode_kaggle, runs_from_kaggle

MASKS = npst.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def test_kaggle_runs_go_down_the_columns_from_one():
    mask = np.array([[0, 1, 1], [0, 1, 0]], dtype=bool)
    assert encode_kaggle(mask) == "3 3"
    assert (decode_kaggle("3 3", 2, 3) == mask).all()


@given(MASKS)
def test_every_mask_survives(mask):
    assert (decode_kaggle(encode_kaggle(mask), *mask.shape) == mask).all()


def test_runs_start_at_one_in_the_file_and_at_zero_here():
    assert runs_from_kaggle("1 3 10 2", 4, 3).tolist() == [[0, 3], [9, 11]]
    assert runs_from_kaggle("", 4, 3).shape == (0, 2)


@pytest.mark.parametrize(
    ("runs", "complaint"),
    [
        ("1", "pairs"),
        ("1 x", "whole numbers"),
        ("0 2", "at least 1"),
        ("1 0", "at least 1"),
        ("1 -3", "at least 1"),
        ("5 2 1 2", "increase"),
        ("1 3 3 1", "increase"),
        ("8 3", "leaves the image"),
        (f"2 {2**63 - 1}", "leaves the image"),
        (f"1 {2**70}", "whole numbers"),
    ],
)
def test_bad_runs_are_refused_with_the_reason(runs, complaint):
    with pytest.raises(ValueError, match=complaint):
        decode_kaggle(runs, 3, 3)
