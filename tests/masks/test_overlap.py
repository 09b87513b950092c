from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import contingency_table

from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.overlap import label_runs, largest_ious, overlap_table, table_of_runs


def test_by_hand():
    truth = np.array([[1, 1, 0, 7],
                      [1, 1, 0, 7],
                      [0, 0, 0, 7]])  # fmt: skip
    prediction = np.array([[0, 3, 3, 9],
                           [0, 3, 3, 9],
                           [4, 0, 0, 5]])  # fmt: skip
    table = overlap_table(truth, prediction)
    assert table.truth_ids.tolist() == [1, 7]
    assert table.prediction_ids.tolist() == [3, 4, 5, 9]
    assert table.truth_areas.tolist() == [4, 3]
    assert table.prediction_areas.tolist() == [4, 1, 1, 2]
    # 1 with 3 in two pixels, 7 with 5 in one and with 9 in two; 4 overlaps nothing
    assert table.truth_index.tolist() == [0, 1, 1]
    assert table.prediction_index.tolist() == [0, 2, 3]
    assert table.intersection.tolist() == [2, 1, 2]
    assert table.union.tolist() == [6, 3, 3]
    assert table.iou.tolist() == [2 / 6, 1 / 3, 2 / 3]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 4)])
def test_images_without_nuclei_give_an_empty_table(shape):
    empty = np.zeros(shape, dtype=np.int32)
    table = overlap_table(empty, empty)
    for array in vars(table).values():
        assert array.shape == (0,)
    assert table.union.shape == table.iou.shape == (0,)


def test_one_side_without_nuclei():
    table = overlap_table(np.full((2, 3), 5), np.zeros((2, 3), dtype=np.uint8))
    assert table.truth_areas.tolist() == [6]
    assert table.prediction_ids.size == table.intersection.size == 0


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_integer_types_agree(dtype):
    truth = np.array([[0, 1, 1], [0, 0, 1]])
    table = overlap_table(truth.astype(dtype), truth.astype(np.int32))
    assert table.truth_ids.tolist() == [1]
    assert table.intersection.tolist() == [3]


def test_labels_near_the_end_of_32_bits():
    truth = np.array([[0, 2**31 - 1, 2**32 - 1]], dtype=np.uint32)
    table = overlap_table(truth, truth[:, ::-1])
    assert table.truth_ids.tolist() == [2**31 - 1, 2**32 - 1]
    assert table.intersection.tolist() == [1]
    assert (table.truth_index.tolist(), table.prediction_index.tolist()) == ([0], [0])


def test_runs_end_with_their_row_and_where_either_label_changes():
    truth = np.array([[0, 1, 1, 1],
                      [1, 1, 2, 2]])  # fmt: skip
    prediction = np.array([[0, 0, 5, 5],
                           [5, 5, 5, 5]])  # fmt: skip
    starts, lengths = label_runs(truth, prediction)
    assert starts.tolist() == [0, 1, 2, 4, 6]
    assert lengths.tolist() == [1, 1, 2, 2, 2]
    table = table_of_runs(truth.ravel()[starts], prediction.ravel()[starts], lengths)
    assert table.intersection.tolist() == [4, 2]
    assert table.union.tolist() == [7, 6]


def test_many_small_nuclei():
    # 300 x 300 possible pairs of 300 that overlap: more than are looked up in a table
    labels = np.zeros((30, 40), dtype=np.int32)
    labels[::2, ::2] = np.random.default_rng(0).permutation(np.arange(1, 301)).reshape(15, 20)
    table = overlap_table(labels, labels * 1_000_000)
    assert table.truth_ids.tolist() == list(range(1, 301))
    assert table.truth_index.tolist() == table.prediction_index.tolist() == list(range(300))
    assert set(table.intersection.tolist()) == {1}


def test_the_layout_in_memory_does_not_matter():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 5, size=(2, 20, 30))
    expected = overlap_table(truth, prediction)
    found = overlap_table(np.asfortranarray(truth), prediction[::-1][::-1])
    assert found.intersection.tolist() == expected.intersection.tolist()


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"one size, found \(2, 3\) and \(3, 2\)"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), "whole numbers, found float64"),
        (np.zeros((2, 3), int), np.full((2, 3), -1), "0 and above, found -1"),
    ],
)
def test_what_is_no_pair_of_label_images(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        overlap_table(truth, prediction)


@given(st.data())
def test_agrees_with_counting_pixel_by_pixel(data):
    shape = data.draw(st.tuples(st.integers(0, 6), st.integers(0, 6)))
    labels = st.sampled_from([0, 0, 1, 2, 5, 1000])
    truth, prediction = (data.draw(arrays(np.int32, shape, elements=labels)) for _ in range(2))
    table = overlap_table(truth, prediction)

    assert table.truth_ids.tolist() == sorted(set(truth.ravel().tolist()) - {0})
    assert table.truth_areas.tolist() == [(truth == label).sum() for label in table.truth_ids]
    assert table.prediction_areas.tolist() == [(prediction == label).sum() for label in table.prediction_ids]
    pairs = [
        (i, j, ((truth == a) & (prediction == b)).sum())
        for i, a in enumerate(table.truth_ids)
        for j, b in enumerate(table.prediction_ids)
        if ((truth == a) & (prediction == b)).any()
    ]
    found = zip(table.truth_index, table.prediction_index, table.intersection, strict=True)
    assert [tuple(map(int, pair)) for pair in found] == [tuple(map(int, pair)) for pair in pairs]


def test_agrees_with_scikit_image():
    rng = np.random.default_rng(1)
    for _ in range(50):
        truth, prediction = rng.integers(0, 40, size=(2, 60, 50)) * (rng.random((2, 60, 50)) > 0.3)
        expected = contingency_table(truth, prediction, sparse_type="array").tocoo()
        inside = (expected.row > 0) & (expected.col > 0)
        table = overlap_table(truth, prediction)
        found = np.zeros(expected.shape)
        found[table.truth_ids[table.truth_index], table.prediction_ids[table.prediction_index]] = table.intersection
        np.testing.assert_array_equal(found[expected.row[inside], expected.col[inside]], expected.data[inside])
        assert table.intersection.sum() == expected.data[inside].sum()


def test_largest_ious_by_hand():
    """Masks that overlap each other: one of 2 x 2 with three pixels of nucleus 1 and one of nucleus 5, one without a
    pixel, one beside all nuclei, one that is nucleus 5."""
    labels = np.zeros((6, 8), np.int16)
    labels[0:3, 0:3], labels[1, 3] = 1, 5
    masks = BoxMasks(
        np.array([[2, 1, 4, 3], [0, 0, 2, 1], [5, 4, 8, 6], [3, 1, 4, 2]]),
        [np.ones((2, 2), bool), np.zeros((1, 2), bool), np.ones((2, 3), bool), np.ones((1, 1), bool)], 6, 8,
    )  # fmt: skip
    assert largest_ious(labels, masks).tolist() == pytest.approx([max(2 / 11, 1 / 4), 0, 0, 1])
    assert largest_ious(np.zeros_like(labels), masks).tolist() == [0, 0, 0, 0]


@given(arrays(np.int16, (9, 11), elements=st.integers(0, 4)), arrays(np.int16, (9, 11), elements=st.integers(0, 4)))
def test_largest_ious_are_those_of_the_table(truth, prediction):
    table = overlap_table(truth, prediction)
    whole = np.tile([0, 0, 11, 9], (len(table.prediction_ids), 1))
    masks = BoxMasks(whole, [prediction == label for label in table.prediction_ids], 9, 11)
    best = np.zeros(len(table.prediction_ids))
    np.maximum.at(best, table.prediction_index, table.iou)
    np.testing.assert_allclose(largest_ious(truth, masks), best)
